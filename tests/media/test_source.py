"""A publication's video: streamed from S3 in pieces, or from what the spool holds."""

import asyncio
import os
import stat
import tracemalloc
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from minitik_dagster.errors import RejectedError, TransientError
from minitik_dagster.media.object_store import ObjectStore, StoredPart
from minitik_dagster.media.source import StoredMedia
from minitik_dagster.media.spool import PIECE_BYTES, Spool
from minitik_dagster.platforms.http import make_client
from tests.media.flaky_s3 import FlakyServer, flaky_s3

KEY = "content/u/c/video.mp4"
DATA = os.urandom(1_500_000)


async def _all(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


def _media(
    store: ObjectStore,
    spool: Path,
    http: httpx2.AsyncClient,
    *,
    size: int = len(DATA),
    revision: int = 1,
) -> StoredMedia:
    return StoredMedia(
        store,
        key=KEY,
        size=size,
        mime_type="video/mp4",
        publication_id="cpublication1",
        revision=revision,
        spool_dir=spool,
        http=http,
    )


def test_a_range_streams_exactly_in_pieces_of_256_kib(store: ObjectStore, tmp_path: Path) -> None:
    """platforms.port.MediaSource: at most one piece of 256 KiB is in memory at a time."""
    store.put(KEY, DATA, "video/mp4")

    async def read() -> list[bytes]:
        async with make_client() as http:
            media = _media(store, tmp_path, http)
            assert (media.size, media.mime_type) == (len(DATA), "video/mp4")
            return [piece async for piece in media.stream(10, 1_000_000)]

    pieces = asyncio.run(read())
    assert b"".join(pieces) == DATA[10:1_000_010]
    assert max(len(piece) for piece in pieces) <= PIECE_BYTES


def test_a_range_outside_the_file_is_a_mistake_of_the_caller(
    store: ObjectStore, tmp_path: Path
) -> None:
    """Nothing is asked of the store for it."""

    async def read() -> None:
        async with make_client() as http:
            await _all(_media(store, tmp_path, http).stream(1, len(DATA)))

    with pytest.raises(ValueError, match="outside"):
        asyncio.run(read())


def test_streaming_a_large_file_keeps_memory_flat(store: ObjectStore, tmp_path: Path) -> None:
    """The peak does not grow with the file: 96 MiB pass through less than 8 MiB."""
    size = 96 * 2**20
    upload = store.create_multipart(KEY, "video/mp4")
    block = os.urandom(2**20) * 32
    parts = [
        StoredPart(
            number,
            httpx2.put(
                store.presign_part(KEY, upload, number, len(block)), content=block, timeout=60
            ).headers["ETag"].strip('"'),
        )
        for number in (1, 2, 3)
    ]  # fmt: skip
    store.complete(KEY, upload, parts)
    del block

    async def read() -> tuple[int, int]:
        async with make_client() as http:
            media = _media(store, tmp_path, http, size=size)
            tracemalloc.start()
            total = 0
            async for piece in media.stream(0, size):
                total += len(piece)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return total, peak

    total, peak = asyncio.run(read())
    assert total == size
    assert peak < 8 * 2**20


def test_a_held_range_needs_no_store(
    store: ObjectStore, dead_store: ObjectStore, tmp_path: Path
) -> None:
    """engine.md: the held chunk is spooled to local disk, S3 may be down at the instant."""
    store.put(KEY, DATA, "video/mp4")

    async def read() -> tuple[bytes, bytes]:
        async with make_client() as http:
            media = _media(store, tmp_path / "spool", http)
            await media.hold(500, 700_000)
            await media.hold(500, 700_000)
            same_process = _media(dead_store, tmp_path / "spool", http)
            held = await _all(same_process.stream(500, 700_000))
            # Another process knows nothing of the checksum and verifies it from the disk.
            again = Spool(tmp_path / "spool")
            path = again.path("cpublication1", 1, 500, 700_000)
            assert await again.is_sound(path, 700_000)
            return held, b"".join(again.read(path))

    held, again = asyncio.run(read())
    assert held == again == DATA[500:700_500]


def test_held_files_are_private_and_complete(store: ObjectStore, tmp_path: Path) -> None:
    """Named by publication, revision and range; mode 0600; the checksum beside; no leftovers."""
    store.put(KEY, DATA, "video/mp4")

    async def hold() -> None:
        async with make_client() as http:
            await _media(store, tmp_path / "spool", http).hold(0, 1000)

    asyncio.run(hold())
    names = sorted(path.name for path in (tmp_path / "spool").iterdir())
    assert names == ["cpublication1-1-0-1000", "cpublication1-1-0-1000.sha256"]
    for path in (tmp_path / "spool").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", ["flip", "truncate", "no digest"])
def test_a_damaged_spool_file_falls_back_to_the_store(
    store: ObjectStore, tmp_path: Path, damage: str
) -> None:
    """A checksum that does not match is never served; the range comes from S3 instead."""
    store.put(KEY, DATA, "video/mp4")
    path = tmp_path / "cpublication1-1-0-600000"

    async def read() -> bytes:
        async with make_client() as http:
            media = _media(store, tmp_path, http)
            await media.hold(0, 600_000)
            if damage == "flip":
                path.write_bytes(b"?" + path.read_bytes()[1:])
            elif damage == "truncate":
                path.write_bytes(path.read_bytes()[:-1])
            else:
                path.with_name(path.name + ".sha256").unlink()
                os.utime(path, (1, 1))
            return await _all(media.stream(0, 600_000))

    assert asyncio.run(read()) == DATA[:600_000]
    assert not path.exists()


def test_forget_removes_only_this_publications_files(store: ObjectStore, tmp_path: Path) -> None:
    """All its revisions go, another publication's stay."""
    store.put(KEY, DATA, "video/mp4")
    other = tmp_path / "cpublication12-1-0-5"

    async def hold() -> None:
        async with make_client() as http:
            media = _media(store, tmp_path, http)
            await media.hold(0, 100)
            await _media(store, tmp_path, http, revision=2).hold(0, 100)
            other.write_bytes(b"other")
            media.forget()

    asyncio.run(hold())
    assert [path.name for path in tmp_path.iterdir()] == [other.name]


def test_a_store_that_is_down_is_transient_and_healthy_for_the_platform(
    dead_store: ObjectStore, tmp_path: Path
) -> None:
    """architecture.md section 3: S3 down must not close a platform's breaker; no URL in the text."""

    async def read() -> None:
        async with make_client() as http:
            await _all(_media(dead_store, tmp_path, http).stream(0, 10))

    with pytest.raises(TransientError, match="s3") as down:
        asyncio.run(read())
    assert not down.value.unhealthy
    assert "Signature" not in str(down.value)
    assert down.value.__cause__ is None


def test_holding_without_a_store_leaves_nothing_behind(
    dead_store: ObjectStore, tmp_path: Path
) -> None:
    """A part file is never mistaken for a held range."""

    async def hold() -> None:
        async with make_client() as http:
            await _media(dead_store, tmp_path, http).hold(0, 10)

    with pytest.raises(TransientError):
        asyncio.run(hold())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def flaky() -> FlakyServer:
    """A server that breaks off."""
    return FlakyServer(DATA)


def test_an_answer_that_breaks_off_is_reopened_where_it_stopped(
    flaky: FlakyServer, tmp_path: Path
) -> None:
    """Each reopening asks for the rest only; nothing is sent twice."""
    flaky.cut_after = [400_000, 300_000]
    with flaky_s3(flaky) as endpoint:
        store = ObjectStore(bucket="b", endpoint_url=endpoint)

        async def read() -> bytes:
            async with make_client() as http:
                return await _all(_media(store, tmp_path, http).stream(7, 1_000_000))

        assert asyncio.run(read()) == DATA[7:1_000_007]
    starts = [int(text.removeprefix("bytes=").split("-")[0]) for text in flaky.ranges]
    assert starts == sorted(starts)
    assert len(starts) == 3
    assert starts[0] == 7


@pytest.mark.parametrize(
    ("status", "code"), [(404, "media_missing"), (416, "media_changed"), (206, "media_changed")]
)
def test_an_object_that_is_gone_or_another_one_is_final(
    flaky: FlakyServer, tmp_path: Path, status: int, code: str
) -> None:
    """Repeating cannot help: the person must upload again."""
    flaky.status = status
    with flaky_s3(flaky) as endpoint:
        store = ObjectStore(bucket="b", endpoint_url=endpoint)

        async def read() -> None:
            async with make_client() as http:
                await _all(_media(store, tmp_path, http, size=len(DATA) + 1).stream(0, 10))

        with pytest.raises(RejectedError) as gone:
            asyncio.run(read())
    assert gone.value.code == code
    assert gone.value.fix


@pytest.mark.parametrize("status", [500, 503, 403, 302, 200])
def test_any_other_answer_may_be_repeated(flaky: FlakyServer, tmp_path: Path, status: int) -> None:
    """Errors of the store, a redirect, and an answer that ignored the range."""
    flaky.status = status
    with flaky_s3(flaky) as endpoint:
        store = ObjectStore(bucket="b", endpoint_url=endpoint)

        async def read() -> None:
            async with make_client() as http:
                await _all(_media(store, tmp_path, http).stream(0, 10))

        with pytest.raises(TransientError, match=f"s3 answered {status}"):
            asyncio.run(read())


def test_a_platforms_fetch_url_lives_as_long_as_asked(store: ObjectStore, tmp_path: Path) -> None:
    """A platform's video_url lives as long as its container."""
    store.put(KEY, DATA, "video/mp4")

    async def url() -> str:
        async with make_client() as http:
            return _media(store, tmp_path, http).fetch_url(timedelta(hours=24))

    signed = asyncio.run(url())
    assert "X-Amz-Expires=86400" in signed
    assert httpx2.get(signed).content == DATA

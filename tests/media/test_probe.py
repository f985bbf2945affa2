"""Probing: what is found in real videos, what is refused, and the bounds of its process."""

import os
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minitik_dagster.errors import DependencyDownError, InvalidInputError
from minitik_dagster.media.facts import MediaFacts
from minitik_dagster.media.probe import probe
from minitik_dagster.media.sniff import FIRST_BYTES
from tests.media.scene import sha256
from tests.media.videos import make_sound, make_video

_VIDEO = make_video(seconds=1)


def _reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, length: data[offset : offset + length]


def _like_an_mp4(length: int) -> bytes:
    """So many bytes that look like an MP4's first."""
    return b"\0\0\0\x18ftyp".ljust(length, b"\0")


def _refusal(data: bytes) -> tuple[str, str]:
    with pytest.raises(InvalidInputError) as refused:
        probe(_reader(data), len(data))
    (problem,) = refused.value.problems
    assert problem.field == "file"
    assert problem.fix
    return problem.message, problem.fix


def test_an_mp4_tells_all_its_facts() -> None:
    """Duration, dimensions, codec and frame rate as they were encoded."""
    video = make_video(seconds=2, width=360, height=640, fps=30)
    found = probe(_reader(video), len(video))
    assert found.facts == MediaFacts(
        container="mp4",
        mime_type="video/mp4",
        size=len(video),
        video_codec="h264",
        width=360,
        height=640,
        duration=2.0,
        fps=30.0,
        bitrate=round(len(video) * 8 / 2.0),
        rotation=0,
        pixel_format="yuv420p",
        audio_codec="aac",
        audio_sample_rate=48_000,
        audio_channels=2,
        index_first=True,
        sha256=sha256(video),
    )
    assert found.thumbnail.startswith(b"\xff\xd8\xff")
    assert found.thumbnail.endswith(b"\xff\xd9")


def test_facts_survive_being_stored() -> None:
    """What contents.metadata keeps is read back as it was; foreign metadata is no facts."""
    facts = probe(_reader(_VIDEO), len(_VIDEO)).facts
    assert MediaFacts.from_metadata(facts.to_metadata()) == facts
    assert MediaFacts.from_metadata({"legacy": True}) is None
    assert MediaFacts.from_metadata(None) is None


def test_a_mov_is_told_from_an_mp4_and_its_late_index_seen() -> None:
    """The sniffed container rules, not the file's name."""
    data = make_video(container="mov", seconds=1, index_first=False)
    facts = probe(_reader(data), len(data)).facts
    assert (facts.container, facts.mime_type) == ("mov", "video/quicktime")
    assert facts.index_first is False


def test_a_webm_is_known() -> None:
    """VP9 and Opus in WebM."""
    data = make_video(container="webm", codec="libvpx-vp9", seconds=1)
    facts = probe(_reader(data), len(data)).facts
    assert (facts.mime_type, facts.video_codec, facts.audio_codec) == ("video/webm", "vp9", "opus")
    assert facts.index_first is None


def test_a_turned_video_has_the_sides_that_are_seen() -> None:
    """Phones store portrait as landscape and a rotation."""
    data = make_video(width=640, height=360, rotation=90, seconds=1)
    found = probe(_reader(data), len(data))
    assert (found.facts.width, found.facts.height) == (360, 640)
    thumbnail = found.thumbnail
    start = thumbnail.index(b"\xff\xc0")  # the frame header: height, width
    height, width = thumbnail[start + 5 : start + 7], thumbnail[start + 7 : start + 9]
    assert int.from_bytes(height, "big") > int.from_bytes(width, "big")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"Dear diary,\n" * 50, "text", id="text"),
        pytest.param(b"", "0 bytes", id="empty"),
        pytest.param(b"%PDF-1.7 ...", "PDF", id="pdf"),
        pytest.param(make_sound(), "no video stream (sound only)", id="sound"),
        pytest.param(_VIDEO[:-500], "cut short", id="truncated"),
        pytest.param(b"\0\0\0\x18ftypisom" + b"\0" * 12, "no index", id="no index"),
        pytest.param(make_video(container="matroska", seconds=0.2), "Matroska", id="matroska"),
        pytest.param(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "text", id="playlist"),
    ],
)
def test_what_is_no_usable_video_is_refused_with_the_fix(data: bytes, message: str) -> None:
    """Each refusal names field, finding and fix."""
    found, _ = _refusal(data)
    assert message in found


def test_a_missing_store_is_not_the_files_fault() -> None:
    """What the reader raises comes through as it is."""

    def down(offset: int, length: int) -> bytes:
        raise DependencyDownError("s3", "down")

    with pytest.raises(DependencyDownError):
        probe(down, 1000)


def test_a_probe_that_hangs_is_killed() -> None:
    """The time limit ends the process, whatever it does."""
    pids: list[int] = []
    hang = (
        "import os, sys, time; "
        "os.write(1, b'\\x01' + (0).to_bytes(8, 'big') + os.getpid().to_bytes(4, 'big')); "
        "time.sleep(600)"
    )

    def note(offset: int, length: int) -> bytes:
        pids.append(length)
        return _like_an_mp4(length)

    began = time.monotonic()
    with pytest.raises(InvalidInputError, match="within 1 seconds"):
        probe(note, 100_000_000, timeout_seconds=1, command=("-c", hang))
    assert time.monotonic() - began < 20
    with pytest.raises(ProcessLookupError):
        os.kill(pids[-1], 0)


@pytest.mark.parametrize(
    "abuse",
    [
        pytest.param("bytearray(4 << 30)", id="memory"),
        pytest.param("open('/etc/hostname')", id="a file"),
        pytest.param("__import__('socket').socket()", id="a socket"),
        pytest.param("os.pipe()", id="a pipe"),
    ],
)
def test_the_process_is_bound_in_what_it_may_take(abuse: str) -> None:
    """After its limits are set, memory, files and sockets are out of reach."""
    code = (
        "import os, socket\n"
        "from minitik_dagster.media.probe_worker import limit_this_process\n"
        "limit_this_process()\n"
        "try:\n"
        f"    {abuse}\n"
        "except (MemoryError, OSError):\n"
        "    os._exit(0)\n"
        "os.write(1, b'\\x02' + (2).to_bytes(4, 'big') + (0).to_bytes(4, 'big') + b'{}')\n"
    )
    with pytest.raises(InvalidInputError, match="cannot be examined safely"):
        probe(_reader(_VIDEO), len(_VIDEO), command=("-c", code))


def test_the_process_sees_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment holds nothing of ours."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    code = (
        "import json, os\n"
        "text = json.dumps({'error': 'not_a_video', 'detail': ' '.join(sorted(os.environ))})\n"
        "os.write(1, b'\\x02' + len(text).to_bytes(4, 'big') + bytes(4) + text.encode())\n"
    )
    with pytest.raises(InvalidInputError) as refused:
        probe(_reader(_VIDEO), len(_VIDEO), command=("-c", code))
    assert "AWS" not in str(refused.value)
    assert "PYTHONPATH" in str(refused.value)


def test_a_process_that_reads_without_end_is_stopped() -> None:
    """Not more than 256 MiB are served, however often it asks."""
    served = 0

    def count(offset: int, length: int) -> bytes:
        nonlocal served
        served += length
        return _like_an_mp4(length)

    greedy = (
        "import os\n"
        "while True:\n"
        "    os.write(1, b'\\x01' + bytes(8) + (262144).to_bytes(4, 'big'))\n"
        "    left = 262148\n"
        "    while left:\n"
        "        got = len(os.read(0, left))\n"
        "        if not got: raise SystemExit\n"
        "        left -= got\n"
    )
    with pytest.raises(InvalidInputError):
        probe(count, 2**30, command=("-c", greedy))
    assert served == 256 * 2**20 + FIRST_BYTES


def test_a_large_file_is_probed_by_reading_little() -> None:
    """Only what the demuxer asks for is read: the index, and one frame."""
    size = 2**30
    # The same video with a free box of almost 1 GiB behind it.
    tail = (size - len(_VIDEO)).to_bytes(4, "big") + b"free"
    read = 0

    def sparse(offset: int, length: int) -> bytes:
        nonlocal read
        read += length
        front = (_VIDEO + tail)[offset : offset + length]
        return front + bytes(length - len(front))

    facts = probe(sparse, size).facts
    assert (facts.size, facts.video_codec, facts.sha256) == (size, "h264", None)
    assert read < 8 * 2**20


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    places=st.lists(
        st.tuples(st.integers(0, len(_VIDEO) - 1), st.integers(0, 255)), min_size=1, max_size=40
    )
)
def test_a_damaged_file_is_found_out_or_read_but_never_breaks_the_caller(
    places: list[tuple[int, int]],
) -> None:
    """Whatever bytes are changed: facts, or a refusal that names the file."""
    data = bytearray(_VIDEO)
    for place, value in places:
        data[place] = value
    try:
        width = probe(_reader(bytes(data)), len(data)).facts.width
    except InvalidInputError as error:
        outcome: object = error.problems[0].field
    else:
        outcome = "file" if width > 0 else width
    assert outcome == "file"

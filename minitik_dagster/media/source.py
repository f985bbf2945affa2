"""A publication's video as the platform clients see it: ranges out of S3, or out of the spool."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx2

from minitik_dagster.errors import DependencyDownError, RejectedError, TransientError
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.media.spool import PIECE_BYTES, spool_at

STREAM_URL_LIFETIME: Final = timedelta(hours=1)
_REOPENINGS: Final = 3
_TIMEOUT: Final = httpx2.Timeout(20.0, connect=5.0)


class StoredMedia:
    """One publication's file in S3 (platforms.port.MediaSource); memory stays flat for any size.

    `http` is a client that never follows redirects; its pool should not be a platform's. `key` is
    the object's, `size` its bytes as verified at upload. Ranges that were held are read from
    `spool_dir` and fall back to S3 when they are gone or damaged.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        key: str,
        size: int,
        mime_type: str,
        publication_id: str,
        revision: int,
        spool_dir: Path,
        http: httpx2.AsyncClient,
    ) -> None:
        self._store = store
        self._key = key
        self._size = size
        self._mime_type = mime_type
        self._publication_id = publication_id
        self._revision = revision
        self._spool = spool_at(spool_dir)
        self._http = http

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._size

    @property
    def mime_type(self) -> str:
        """video/mp4, video/quicktime or video/webm."""
        return self._mime_type

    async def stream(self, start: int, length: int) -> AsyncGenerator[bytes, None]:
        """Yield `length` bytes from offset `start`, in pieces of at most 256 KiB.

        Raises TransientError when the object store does not answer, RejectedError when the object is
        gone or is another one. After an answer that breaks off it is reopened where it stopped.
        """
        self._check_range(start, length)
        path = self._spool.path(self._publication_id, self._revision, start, length)
        if await self._spool.is_sound(path, length):
            try:
                for piece in self._spool.read(path):
                    yield piece
            except OSError as error:
                raise TransientError(f"the spool cannot be read ({error.strerror})") from None
            return
        async with aclosing(self._from_store(start, length)) as pieces:
            async for piece in pieces:
                yield piece

    async def hold(self, start: int, length: int) -> None:
        """Copy a range to the spool, with its checksum; idempotent. Raises as `stream` does."""
        self._check_range(start, length)
        path = self._spool.path(self._publication_id, self._revision, start, length)
        if await self._spool.is_sound(path, length):
            return
        try:
            async with aclosing(self._from_store(start, length)) as pieces:
                whole = await self._spool.write(path, length, pieces)
        except OSError as error:
            raise TransientError(
                f"the local spool cannot be written ({error.strerror})",
                fix="free space under MINITIK_HOME",
            ) from None
        if not whole:
            raise TransientError("s3 sent another number of bytes than asked for")

    def fetch_url(self, lifetime: timedelta) -> str:
        """Presign a URL from which a platform fetches the file; a credential: never stored."""
        try:
            return self._store.presign_fetch(self._key, lifetime)
        except DependencyDownError as error:
            raise TransientError(f"s3 cannot sign: {error}") from None

    def forget(self) -> None:
        """Delete what is held for this publication."""
        self._spool.forget(self._publication_id)

    def _check_range(self, start: int, length: int) -> None:
        if start < 0 or length < 1 or start + length > self._size:
            raise ValueError(f"range {start}+{length} is outside the file's {self._size} bytes")

    async def _from_store(self, start: int, length: int) -> AsyncGenerator[bytes, None]:
        sent = 0
        failures = 0
        while sent < length:
            before = sent
            try:
                async with aclosing(self._one_answer(start + sent, length - sent)) as pieces:
                    async for piece in pieces:
                        sent += len(piece)
                        yield piece
            except TransientError:
                # An answer that brought something is progress: only barren ones count.
                failures = 1 if sent > before else failures + 1
                if failures >= _REOPENINGS:
                    raise
                await asyncio.sleep(0.1 * 2**failures)

    async def _one_answer(self, first: int, length: int) -> AsyncGenerator[bytes, None]:
        """Yield what one GET of the range brings; TransientError when that is not all of it."""
        try:
            url = await asyncio.to_thread(self._store.presign_get, self._key, STREAM_URL_LIFETIME)
        except DependencyDownError as error:
            raise TransientError(f"s3 cannot sign: {error}") from None
        headers = {"Range": f"bytes={first}-{first + length - 1}", "Accept-Encoding": "identity"}
        got = 0
        try:
            async with self._http.stream(
                "GET", url, headers=headers, timeout=_TIMEOUT, follow_redirects=False
            ) as answer:
                self._check_answer(answer)
                async for piece in answer.aiter_raw(PIECE_BYTES):
                    got += len(piece)
                    if got > length:
                        raise RejectedError(
                            "the stored video is not the one that was uploaded",
                            code="media_changed",
                            fix="upload the video again",
                        )
                    yield piece
        except httpx2.HTTPError as error:
            # Without cause and text: both may hold the presigned URL.
            raise TransientError(f"s3 does not answer ({type(error).__name__})") from None
        if got < length:
            raise TransientError("s3 ended its answer early")

    def _check_answer(self, answer: httpx2.Response) -> None:
        status = answer.status_code
        if status == 404:
            raise RejectedError(
                "the video is no longer in the object store",
                code="media_missing",
                fix="upload the video again",
            )
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        if status == 416 or (status == 206 and total != str(self._size)):
            raise RejectedError(
                "the stored video is not the one that was uploaded",
                code="media_changed",
                fix="upload the video again",
            )
        if status != 206:
            raise TransientError(f"s3 answered {status}")

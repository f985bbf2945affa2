"""Ranges of media held on local disk, so that a commit needs no object store.

A held range is a file with its SHA-256 beside it. The digest is written first and both are renamed
into place, so a data file without its digest, or one that a crash cut short, is never served. Files
have mode 0600: they are somebody's unpublished video.
"""

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from functools import lru_cache
from pathlib import Path

PIECE_BYTES = 256 * 1024
_PLAIN_ID = re.compile(r"[A-Za-z0-9]{1,64}")
_DIGEST_SUFFIX = ".sha256"


@lru_cache(maxsize=8)
def spool_at(folder: Path) -> "Spool":
    """Return this process's one spool of a folder: it remembers which files it has verified."""
    return Spool(folder)


class Spool:
    """A folder of held ranges, named `<publication>-<revision>-<start>-<length>`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._verified: dict[Path, tuple[int, int, int]] = {}

    def path(self, publication_id: str, revision: int, start: int, length: int) -> Path:
        """Where a range of a publication's media is held."""
        return self.folder / f"{_name_of(publication_id)}-{revision}-{start}-{length}"

    async def is_sound(self, path: Path, length: int) -> bool:
        """Whether the file is there, has its length and its checksum; else it is removed.

        A file that this process wrote or checked, and that has not changed since, is not read again:
        a commit's first byte does not wait for a checksum.
        """
        try:
            signature = _signature(path)
        except FileNotFoundError:
            return False
        if self._verified.get(path) == signature:
            return True
        if await asyncio.to_thread(_matches_its_digest, path, length):
            self._verified[path] = signature
            return True
        self._remove(path)
        return False

    async def write(self, path: Path, length: int, pieces: AsyncIterator[bytes]) -> bool:
        """Hold what `pieces` yields; return False, holding nothing, when it is not `length` bytes."""
        await asyncio.to_thread(self._make_folder)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        digest = hashlib.sha256()
        written = 0
        try:
            with os.fdopen(_create_private(part), "wb") as file:
                async for piece in pieces:
                    digest.update(piece)
                    await asyncio.to_thread(file.write, piece)
                    written += len(piece)
            if written != length:
                return False
            self._publish(part, path, digest.hexdigest())
        finally:
            part.unlink(missing_ok=True)
        return True

    def read(self, path: Path) -> Iterator[bytes]:
        """Yield the file in pieces of 256 KiB.

        Read on the caller's own thread: such a piece out of the page cache takes some 50 µs, less
        than handing it from thread to thread would.
        """
        with path.open("rb", buffering=0) as file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    def forget(self, publication_id: str) -> None:
        """Delete everything held for a publication, of any revision."""
        mine = re.compile(
            rf"\.?{re.escape(_name_of(publication_id))}-\d+-\d+-\d+(\.sha256|\.[0-9a-f]+(\.note)?\.part)?"
        )
        try:
            entries = list(os.scandir(self.folder))
        except FileNotFoundError:
            return
        for entry in entries:
            if mine.fullmatch(entry.name):
                self._verified.pop(Path(entry.path), None)
                Path(entry.path).unlink(missing_ok=True)

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _publish(self, part: Path, path: Path, digest: str) -> None:
        note = part.with_suffix(".note.part")
        with os.fdopen(_create_private(note), "w", encoding="ascii") as file:
            file.write(digest)
        note.replace(_digest_path(path))
        part.replace(path)
        self._verified[path] = _signature(path)

    def _remove(self, path: Path) -> None:
        self._verified.pop(path, None)
        path.unlink(missing_ok=True)
        _digest_path(path).unlink(missing_ok=True)


def _name_of(publication_id: str) -> str:
    """The id as part of a file name; ids of an old system that are not plain are hashed."""
    if _PLAIN_ID.fullmatch(publication_id):
        return publication_id
    return hashlib.sha256(publication_id.encode()).hexdigest()[:40]


def _create_private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def _signature(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + _DIGEST_SUFFIX)


def _matches_its_digest(path: Path, length: int) -> bool:
    try:
        expected = _digest_path(path).read_text("ascii").strip()
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != length:
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == expected
    except (OSError, UnicodeDecodeError):
        return False

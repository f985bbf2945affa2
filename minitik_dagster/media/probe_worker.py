"""The process that reads an untrusted file: `python -m minitik_dagster.media.probe_worker SIZE`.

It has no file, no network and no credentials: it asks its parent for byte ranges over a pipe, and
answers with one report. Its memory, CPU time and files are limited before the first byte is read.

Towards the parent: `>BQI` (request, offset, length), or `>BII` (report, JSON bytes, JPEG bytes) and
then these bytes. Towards the worker: `>I` (length), then so many bytes.
"""

import io
import json
import os
import resource
import struct
import sys
from typing import Any, BinaryIO

READ, REPORT = 1, 2
REQUEST = struct.Struct(">BQI")
REPORT_HEAD = struct.Struct(">BII")
REPLY = struct.Struct(">I")

MEMORY_BYTES = 1536 * 1024 * 1024
CPU_SECONDS = 20
BLOCK = 256 * 1024


def limit_this_process() -> None:
    """Bound memory and CPU time; no new files, no written byte, no core dump."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


class ParentFile(io.RawIOBase):
    """The file under examination, read from the parent in blocks of 256 KiB, the last few kept."""

    _KEPT = 16

    def __init__(self, size: int, requests: BinaryIO, replies: BinaryIO) -> None:
        self.size = size
        self._requests = requests
        self._replies = replies
        self._position = 0
        self._blocks: dict[int, bytes] = {}

    def seekable(self) -> bool:
        """Say that any offset may be read."""
        return True

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; nothing is read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, fewer at a block's end; empty only at the file's end."""
        if self._position >= self.size:
            return b""
        wanted = self.size - self._position if size < 0 else size
        index, within = divmod(self._position, BLOCK)
        data = self._block(index)[within : within + wanted]
        self._position += len(data)
        return data

    def read_exactly(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only at the file's end."""
        self.seek(offset)
        data = b""
        while len(data) < length and (piece := self.read(length - len(data))):
            data += piece
        return data

    def _block(self, index: int) -> bytes:
        if index not in self._blocks:
            start = index * BLOCK
            self._requests.write(REQUEST.pack(READ, start, min(BLOCK, self.size - start)))
            self._requests.flush()
            (length,) = REPLY.unpack(_exactly(self._replies, REPLY.size))
            block = _exactly(self._replies, length)
            if len(self._blocks) >= self._KEPT:
                self._blocks.pop(next(iter(self._blocks)))
            self._blocks[index] = block
        return self._blocks[index]


def _exactly(pipe: BinaryIO, length: int) -> bytes:
    data = pipe.read(length)
    if len(data) < length:
        raise SystemExit(1)  # the parent is gone
    return data


def main() -> None:
    """Examine the file of SIZE bytes that the parent serves, and report."""
    size = int(sys.argv[1])
    # The reader is imported before the limits: afterwards no file can be opened any more.
    from minitik_dagster.media import probe_reader
    from minitik_dagster.media.sniff import NotAVideoError

    requests, replies = os.fdopen(os.dup(1), "wb"), os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)  # whatever a library prints does not go into the protocol
    limit_this_process()
    thumbnail = b""
    report: dict[str, Any]
    try:
        report, thumbnail = probe_reader.examine(ParentFile(size, requests, replies))
    except NotAVideoError as error:
        report = {"error": error.code, "detail": error.detail}
    except MemoryError:
        report = {"error": "too_demanding", "detail": ""}
    text = json.dumps(report).encode()
    requests.write(REPORT_HEAD.pack(REPORT, len(text), len(thumbnail)) + text + thumbnail)
    requests.flush()


if __name__ == "__main__":
    main()

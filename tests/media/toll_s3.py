"""An S3 server that counts the bytes sent to it, holds them at a number of bytes, and spoils a part.

`Toll.spoil` are answers to the next parts: an HTTP status, or "other bytes" for another ETag than theirs.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from localbucket import S3Handler

_PIECE = 64 * 1024


class Toll:
    """Counts; from `hold_at` bytes on it lets nothing through until `open` is called."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.passed = 0
        self.held = threading.Event()
        self.spoil: list[str] = []
        self._hold_at: int | None = None
        self._lock = threading.Condition()

    def hold_at(self, count: int) -> None:
        """Close after so many bytes in all."""
        self.held.clear()
        self._hold_at = count

    def open(self) -> None:
        """Let everything through again."""
        with self._lock:
            self._hold_at = None
            self._lock.notify_all()

    def pay(self, count: int) -> None:
        """Count what came; wait while it is closed."""
        with self._lock:
            self.passed += count
            if self._hold_at is not None and self.passed >= self._hold_at:
                self.held.set()
                self._lock.wait_for(lambda: self._hold_at is None, timeout=60)


class _Counted:
    """A request's body, counted as it is read."""

    def __init__(self, stream: Any, toll: Toll) -> None:
        self._stream, self._toll = stream, toll

    def read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and (piece := self._stream.read(min(_PIECE, size - len(data)))):
            data += piece
            self._toll.pay(len(piece))
        if len(data) < size:
            raise ConnectionResetError  # Amazon's S3 stores no part that was cut short
        return bytes(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class TollHandler(S3Handler):  # type: ignore[misc]  # localbucket has no types
    """Reads bodies through the toll."""

    toll: Toll

    def setup(self) -> None:
        """Put the toll between the socket and the reader."""
        super().setup()
        self.rfile: Any = _Counted(self.rfile, self.toll)

    def do_PUT(self) -> None:  # noqa: N802 - the parent's name
        """Store a part, unless this one is to be spoilt: an expired URL, a bucket that fails."""
        if self.toll.spoil and "partNumber" in self.path:
            told = self.toll.spoil.pop()
            self._read_body()
            if told == "other bytes":
                self._send(HTTPStatus.OK, headers={"ETag": f'"{"0" * 32}"'})
            else:
                self._send(HTTPStatus(int(told)))
            return
        super().do_PUT()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Say nothing."""


@contextmanager
def toll_s3(folder: Path, bucket: str) -> Iterator[Toll]:
    """Serve `folder` with an empty bucket."""
    (folder / bucket).mkdir(parents=True)
    toll = Toll()
    handler = type("Handler", (TollHandler,), {"data_root": folder.resolve(), "toll": toll})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # killed callers are meant
    toll.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield toll
    finally:
        toll.open()
        server.shutdown()
        server.server_close()
        thread.join(5)

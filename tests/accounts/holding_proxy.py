"""Stands between a process and the sandbox and holds requests or answers, so that it can be killed there."""

import contextlib
import socket
import threading
from typing import Self


class HoldingProxy:
    """Passes one connection at a time on to the sandbox.

    `hold` is "request" (nothing reaches the platform) or "answer" (the platform has acted, and its
    answer waits here). `holding` is set when something is held; only the process's end lets go.
    """

    def __init__(self, port: int, hold: str) -> None:
        self._port, self._hold = port, hold
        self.holding = threading.Event()
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=10)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            caller, _ = self._listener.accept()
            with caller:
                caller.settimeout(10)
                request = _message(caller)
                if self._hold == "answer":
                    with socket.create_connection(("127.0.0.1", self._port), timeout=10) as onward:
                        onward.sendall(request)
                        _message(onward)
                self.holding.set()
                self._over.wait(60)


def _message(connection: socket.socket) -> bytes:
    """Read one HTTP message: headers, and as much body as they say."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    while len(body) < (lengths[0] if lengths else 0):
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body

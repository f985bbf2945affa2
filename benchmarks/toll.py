"""A loopback proxy in front of a server that counts the bytes sent to it."""

import contextlib
import socket
import threading
from collections.abc import Iterator

_PIECE = 256 * 1024


class Toll:
    """Passes connections on to `port`; `passed` are the bytes that came from clients, headers included."""

    def __init__(self, port: int) -> None:
        self.passed = 0
        self._port = port
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    @contextlib.contextmanager
    def standing(self) -> Iterator["Toll"]:
        """It listens during the block."""
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def wait_for(self, count: int, timeout_seconds: float = 600) -> bool:
        """Wait until so many bytes have passed; False when they do not come."""
        with self._changed:
            return self._changed.wait_for(lambda: self.passed >= count, timeout_seconds)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                onward = socket.create_connection(("127.0.0.1", self._port))
                for pair in ((caller, onward, True), (onward, caller, False)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                if counted:
                    with self._changed:
                        self.passed += len(piece)
                        self._changed.notify_all()
                target.sendall(piece)
        for end in (target, source):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

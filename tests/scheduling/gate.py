"""Stands between a program and a server, and holds the program's way at one exact message.

Messages are known by what stands in them, as anybody on the wire could see it: `EVAL` for Redis, the text
of a statement for PostgreSQL. Production code has no hook.
"""

import contextlib
import select
import socket
import threading
from collections.abc import Sequence
from typing import Self

_POLL_SECONDS = 0.02


class Gate:
    """Passes connections on until the messages of `route` have come one after the other.

    At the last of them it holds everything: the message itself (`answered` false: the server has not seen
    it) or the server's answer (`answered` true: it was done, and the program does not know). `reached` is
    set then; `open` lets all pass from there on. An empty route passes everything.
    """

    def __init__(self, port: int, route: Sequence[bytes] = (), *, answered: bool = False) -> None:
        self._port, self._route, self._answered = port, list(route), answered
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._opened = threading.Event()
        self.touched = threading.Event()
        self.reached = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._serve, daemon=True)]

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def open(self) -> None:
        """Let what is held pass, and all that comes after it."""
        self._opened.set()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while not self._over.is_set():
                caller, _ = self._listener.accept()
                self.touched.set()
                thread = threading.Thread(target=self._pass_on, args=(caller,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, caller: socket.socket) -> None:
        with (
            caller,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._port)) as server,
        ):
            holding = False
            while not self._over.is_set():
                ready, _, _ = select.select([caller, server], [], [], _POLL_SECONDS)
                for one in ready:
                    piece = one.recv(1 << 20)
                    if not piece:
                        return
                    if one is caller and self._comes_to_the_end(piece):
                        if self._answered:
                            holding = True
                        else:
                            self._hold()
                    elif one is server and holding:
                        holding = False
                        self._hold()
                    (server if one is caller else caller).sendall(piece)

    def _comes_to_the_end(self, piece: bytes) -> bool:
        with self._lock:
            was = len(self._route)
            while self._route and self._route[0] in piece:
                # One message counts once, whatever it holds.
                piece = piece.partition(self._route.pop(0))[2]
            return was > 0 and not self._route

    def _hold(self) -> None:
        self.reached.set()
        while not (self._opened.is_set() or self._over.is_set()):
            self._opened.wait(_POLL_SECONDS)
        if not self._opened.is_set():
            raise ConnectionError("the program was killed here")

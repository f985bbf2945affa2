"""Refuses, as a real MongoDB does, what may not be done to a time-series collection.

The embedded server takes all of it. This stands between it and every client, those of other processes as
well, passes on what a real server takes and answers the rest as one does. Rules: MongoDB manual, "Time
Series Collection Limitations": no upserts, updates of nothing but the meta field, deletes by the meta
field, no unique index.
"""

import contextlib
import select
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

import bson

from minitik_dagster.analytics.names import READINGS

_HEADER: Final = struct.Struct("<iiii")
_OP_MSG: Final = 2013
_UPDATES: Final = {"update", "findAndModify", "findandmodify"}
# Error codes of the server: InvalidOptions, CannotCreateIndex.
_INVALID_OPTIONS, _CANNOT_CREATE_INDEX = 72, 67
Refusal = tuple[int, str]

violations: list[str] = []
"""What was refused since it was last cleared; a test's own are cleared by itself."""


def refusal(command: Mapping[str, Any]) -> Refusal | None:
    """Return the code and words with which a real server refuses the command; None where it takes it."""
    name = next(iter(command), "")
    if command.get(name) != READINGS:
        return None
    if name in _UPDATES:
        # It takes a few updates of the meta field; readings are only ever inserted.
        return _INVALID_OPTIONS, "Cannot perform an update or upsert on a time-series collection"
    if name == "delete":
        for one in command.get("deletes", []):
            if not one["q"] or any(not str(key).startswith("metadata") for key in one["q"]):
                return _INVALID_OPTIONS, "Cannot delete by another than the meta field"
    if name == "createIndexes" and any(one.get("unique") for one in command.get("indexes", [])):
        return (
            _CANNOT_CREATE_INDEX,
            "Unique indexes are not supported on collections with timeseries",
        )
    return None


def _command(message: bytes) -> dict[str, Any]:
    """Read an OP_MSG: its body, the command's name first, and the documents that came beside it."""
    place, body, beside = _HEADER.size + 4, dict[str, Any](), dict[str, Any]()
    # The last 4 bytes may be a checksum: no section is that short.
    while place + 5 < len(message):
        kind, place = message[place], place + 1
        (size,) = struct.unpack_from("<i", message, place)
        if kind == 0:
            body = bson.decode(message[place : place + size])
        else:
            end = message.index(b"\0", place + 4)
            name = message[place + 4 : end].decode()
            beside[name] = bson.decode_all(message[end + 1 : place + size])
        place += size
    return body | beside


def _answer(message: bytes) -> bytes | None:
    """Return the answer to a command that a real server refuses; None for any other message."""
    _, request_id, _, opcode = _HEADER.unpack_from(message)
    if opcode != _OP_MSG:
        return None
    command = _command(message)
    refused = refusal(command)
    if refused is None:
        return None
    code, words = refused
    violations.append(f"{next(iter(command))} on {READINGS!r}: {words}")
    body = bson.encode({"ok": 0.0, "code": code, "errmsg": words})
    head = _HEADER.pack(_HEADER.size + 5 + len(body), request_id + 1, request_id, _OP_MSG)
    return head + struct.pack("<iB", 0, 0) + body


class _Between(socketserver.BaseRequestHandler):
    """One client's connection, and one to the server for it."""

    server: "Guard"

    def handle(self) -> None:
        """Pass messages on until either side closes."""
        client: socket.socket = self.request
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.server.behind)) as server,
        ):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            waiting = b""
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for one in ready:
                    told = one.recv(1 << 20)
                    if not told:
                        return
                    if one is server:
                        client.sendall(told)
                    else:
                        waiting = self._pass_on(waiting + told, client, server)

    @staticmethod
    def _pass_on(told: bytes, client: socket.socket, server: socket.socket) -> bytes:
        """Send on every whole message, or answer it; return the rest."""
        while len(told) >= _HEADER.size and len(told) >= (size := _HEADER.unpack_from(told)[0]):
            message, told = told[:size], told[size:]
            answer = _answer(message)
            if answer is None:
                server.sendall(message)
            else:
                client.sendall(answer)
        return told


class Guard(socketserver.ThreadingTCPServer):
    """Listens before the server on port `behind`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), _Between)
        self.behind = behind

    @property
    def url(self) -> str:
        """`mongodb://127.0.0.1:PORT/`."""
        return f"mongodb://127.0.0.1:{self.server_address[1]}/"


@contextlib.contextmanager
def guard(behind: int) -> Iterator[Guard]:
    """Stand before the server on port `behind` while the block lasts."""
    with Guard(behind) as between:
        thread = threading.Thread(target=between.serve_forever, daemon=True)
        thread.start()
        try:
            yield between
        finally:
            between.shutdown()
            thread.join()

"""A client that costs little: on a machine shared with the server, what it computes the server cannot.

One request at a time on each connection, connections kept and reused, at most `connections` of them.
"""

import asyncio
import json
from collections import deque
from typing import Any

import httptools


class _Wire(asyncio.Protocol):
    """One connection: what httptools tells of an answer becomes the result of a future."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.parser = httptools.HttpResponseParser(self)
        self.body: list[bytes] = []
        self.keep = True
        self.answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.keep = False
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(exc or ConnectionResetError("closed before the answer's end"))

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.keep = self.parser.should_keep_alive()
        answer, status = self.answer, self.parser.get_status_code()
        self.parser = httptools.HttpResponseParser(self)
        if answer is not None and not answer.done():
            answer.set_result((status, b"".join(self.body)))

    async def ask(self, message: bytes) -> tuple[int, bytes]:
        """Send a whole request; return the status and the body."""
        assert self.transport is not None
        self.body = []
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(message)
        return await self.answer


class WireClient:
    """Requests to one server on this machine."""

    def __init__(self, port: int, connections: int = 200) -> None:
        self._port = port
        self._idle: deque[_Wire] = deque()
        self._room = asyncio.Semaphore(connections)

    async def request(
        self, method: str, path: str, body: dict[str, Any] | None, authorization: str
    ) -> tuple[int, bytes]:
        """Return the status and the body; OSError when the connection broke."""
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Authorization: {authorization}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        async with self._room:
            wire = await self._wire()
            answer = await wire.ask(head.encode() + content)
            if wire.keep:
                self._idle.append(wire)
            return answer

    async def _wire(self) -> _Wire:
        while self._idle:
            # The last one given back: the server closes those that stay idle.
            wire = self._idle.pop()
            if wire.keep:
                return wire
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(_Wire, "127.0.0.1", self._port))[1]

    def close(self) -> None:
        """Close what is idle."""
        for wire in self._idle:
            if wire.transport is not None:
                wire.transport.close()

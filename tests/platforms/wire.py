"""A server that counts what arrives, byte for byte, and misbehaves as it is told."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from minitik_dagster.platforms.port import Finding, Standing

Behaviour = Literal[
    "answer", "cut", "half-answer", "answer-then-close", "hang", "early-403", "redirect"
]
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n"
_BODY = b'{"ok": "yes"}'


@dataclass
class Wire:
    """What was seen: connections opened, requests whose head arrived, and their bodies' bytes."""

    url: str = ""
    connections: int = 0
    open_connections: int = 0
    requests: list[str] = field(default_factory=list)
    body_bytes: int = 0
    script: deque[Behaviour] = field(default_factory=deque)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def seen(self, method: str) -> int:
        """How many requests of a method arrived."""
        return sum(line.startswith(method + " ") for line in self.requests)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open_connections -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(head.partition("\r\n")[0])
        if head.startswith("HEAD "):
            writer.write(_OK)
            return True
        behaviour = self.script.popleft() if self.script else "answer"
        if behaviour == "early-403":
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            while await reader.read(65_536):
                pass
            return False
        for line in head.lower().split("\r\n"):
            if line.startswith("content-length:"):
                length = int(line.partition(":")[2])
                self.body_bytes += len(await reader.readexactly(length))
        match behaviour:
            case "cut":
                return False
            case "half-answer":
                writer.write(_OK + _BODY[:5])
                await writer.drain()
                return False
            case "hang":
                await self.released.wait()
            case "redirect":
                writer.write(
                    b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
                )
                return True
        writer.write(_OK + _BODY)
        await writer.drain()
        return behaviour != "answer-then-close"


@asynccontextmanager
async def open_wire(*script: Behaviour) -> AsyncIterator[Wire]:
    """Serve on a free port of loopback; `script` is what the next requests meet, then good answers."""
    wire = Wire(script=deque(script))
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        wire.released.set()
        server.close()


async def until(condition: Callable[[], object], *, what: str) -> None:
    """Wait until a condition holds, a bounded number of turns."""
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"never: {what}")


async def until_found(ask: Callable[[], Awaitable[Finding]], standing: Standing) -> Finding:
    """Ask until the platform gives this standing, a bounded number of times."""
    finding = await ask()
    for _ in range(25):
        if finding.standing is standing:
            return finding
        await asyncio.sleep(0.05)
        finding = await ask()
    raise AssertionError(f"never {standing}, but {finding}")

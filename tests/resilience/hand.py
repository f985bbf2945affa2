"""What these tests move by hand: the clock, and how long Redis is waited for."""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

NOW: Final = 1_800_000_010.0  # ten seconds into a minute, an hour, and a day in California
# A busy machine's Redis is no outage: a quarter of a second is the engine's patience, not a test's.
PATIENT: Final = 30.0


@dataclass
class Hand:
    """A clock's hand in epoch seconds, which a sleep does not move."""

    at: float = NOW
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class HangingRedis:
    """A server that takes connections and never says a word."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self.url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"

    def connections(self) -> int:
        """How many connections were made since the last look."""
        made = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self._server.accept()[0].close()
                made += 1
        return made


@contextlib.contextmanager
def hanging_redis() -> Iterator[HangingRedis]:
    """Let such a server stand."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        server.setblocking(False)
        yield HangingRedis(server)

"""Who goes first among posts due at one instant: a fair order, and one timer for all of them.

09:00 sharp is what people choose. At the instant HIGH goes before NORMAL before LOW; within a priority
every account's first post goes before any account's second, and the platforms take turns.
"""

import asyncio
import contextlib
import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

from minitik_dagster.db.types import JobPriority, Platform
from minitik_dagster.publishing.database_clock import DatabaseClock

_RANK = {JobPriority.HIGH: 0, JobPriority.NORMAL: 1, JobPriority.LOW: 2}


@dataclass(frozen=True)
class Runner:
    """One post at the line."""

    priority: JobPriority
    platform: Platform
    account_id: str


@dataclass
class StartingLine:
    """Lets each caller go at its instant, never early; those of one instant in a fair order."""

    clock: DatabaseClock
    _heap: list[tuple[datetime, int, Runner, asyncio.Future[None]]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)
    _task: asyncio.Task[None] | None = None
    _earlier: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self, instant: datetime, runner: Runner) -> None:
        """Return at `instant`, or at once where it has passed."""
        if self.clock.until(instant) <= 0:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._heap, (instant, next(self._numbers), runner, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._start())
        elif self._heap[0][3] is future:
            self._earlier.set()
        await future

    async def _start(self) -> None:
        while self._heap:
            seconds = self.clock.until(self._heap[0][0])
            if seconds > 0:
                # An earlier instant may arrive meanwhile; a timer may fire a little early.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._earlier.wait(), seconds)
                self._earlier.clear()
                continue
            ready = []
            while self._heap and self.clock.until(self._heap[0][0]) <= 0:
                _, _, runner, future = heapq.heappop(self._heap)
                ready.append((runner, future))
            for _, future in fair_order(ready):
                if not future.done():
                    future.set_result(None)


def fair_order(
    ready: Iterable[tuple[Runner, asyncio.Future[None]]],
) -> list[tuple[Runner, asyncio.Future[None]]]:
    """Order by priority, then by turn within the account, then by turn within the platform."""
    of_account: Counter[tuple[int, str]] = Counter()
    of_platform: Counter[tuple[int, int, Platform]] = Counter()
    keyed = []
    for place, (runner, future) in enumerate(ready):
        rank = _RANK[runner.priority]
        turn = of_account[rank, runner.account_id]
        of_account[rank, runner.account_id] += 1
        round_ = of_platform[rank, turn, runner.platform]
        of_platform[rank, turn, runner.platform] += 1
        keyed.append(((rank, turn, round_, place), (runner, future)))
    return [item for _, item in sorted(keyed, key=lambda pair: pair[0])]

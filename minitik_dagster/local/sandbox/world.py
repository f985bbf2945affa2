"""What all platform modules share: state, clock, limits, accounts, faults, background work."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from minitik_dagster.local.sandbox.accounts import Accounts
from minitik_dagster.local.sandbox.clock import SandboxClock
from minitik_dagster.local.sandbox.events import EventSender, Order
from minitik_dagster.local.sandbox.faults import FaultBook
from minitik_dagster.local.sandbox.fetch import Fetcher
from minitik_dagster.local.sandbox.limits import Limits
from minitik_dagster.local.sandbox.numbers import Numbers
from minitik_dagster.local.sandbox.posts import Posts
from minitik_dagster.local.sandbox.store import Store
from minitik_dagster.local.sandbox.witness import Witness

_CALLS_KEPT: Final = 200_000


@dataclass
class RecordedCall:
    """One request as `/_sandbox/calls` shows it; never a token, a query or an upload key."""

    platform: str
    operation: str
    method: str
    path: str
    at: int
    account: str | None = None
    status: int | None = None
    fault: str | None = None

    def shown(self) -> dict[str, Any]:
        """Return the call as JSON; `status` is null when no answer was sent (yet)."""
        return dict(self.__dict__)


@dataclass
class World:
    """The sandbox's shared state; made once per process by `open_world`."""

    store: Store
    clock: SandboxClock
    limits: Limits
    accounts: Accounts
    posts: Posts
    numbers: Numbers
    faults: FaultBook
    fetcher: Fetcher
    events: EventSender
    calls: deque[RecordedCall] = field(default_factory=lambda: deque(maxlen=_CALLS_KEPT))
    witness: Witness = field(default_factory=Witness)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background for as long as the server lives."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def announce(self, order: Order, at_ms: int | None = None) -> None:
        """Let TikTok send an event of what happened, where a webhook is configured; None: now."""
        webhook = self.events.webhook
        if webhook is not None and webhook.automatic:
            self.spawn(self.events.send_at(webhook, order, at_ms or self.clock.now_ms()))

    def withdraw(self, platform: str, account: str, reason: int = 1) -> None:
        """End the app's access to an account; TikTok tells of it, with its number for the reason."""
        self.accounts.revoke(platform, account)
        if platform == "tiktok":
            self.announce(Order("authorization.removed", account, {"reason": reason}))

    def advance(self, milliseconds: int) -> None:
        """Put the clock forward, and remember it over a restart."""
        self.clock.advance(milliseconds)
        self.store.write_setting("clockOffsetMs", self.clock.offset_ms)

    async def close(self) -> None:
        """Stop background work and close the state file."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.fetcher.close()
        await self.events.close()
        self.store.close()


def open_world(path: Path | str) -> World:
    """Open the state file at `path` (made if absent) with everything that reads it."""
    store = Store(path)
    clock = SandboxClock(int(store.read_setting("clockOffsetMs") or 0))
    limits = Limits(store)
    return World(
        store=store,
        clock=clock,
        limits=limits,
        accounts=Accounts(store, clock, limits),
        posts=Posts(store),
        numbers=Numbers(store),
        faults=FaultBook(store),
        fetcher=Fetcher(),
        events=EventSender(store, clock),
    )

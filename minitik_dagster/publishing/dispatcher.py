"""The dispatcher: claims due publications, keeps their leases, carries each in a task of its own.

One asyncio loop, with or without Dagster. Heartbeats come from this loop, never from a thread, so that
a wedged engine loses its leases (engine.md R11). NOTIFY only shortens the sleep; the claim is the clock.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError

from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import Platform, to_db
from minitik_dagster.errors import ConfigurationError, LeaseLostError
from minitik_dagster.notifications.event_queries import WAKE
from minitik_dagster.publishing import queries
from minitik_dagster.publishing.carrier import Carrier
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.publishing.epochs import EpochKeeper
from minitik_dagster.publishing.listener import Listener
from minitik_dagster.publishing.lookout import Lookout
from minitik_dagster.publishing.outbox import Outbox
from minitik_dagster.publishing.policy import EnginePolicy
from minitik_dagster.publishing.store import Store
from minitik_dagster.publishing.tally import Tally
from minitik_dagster.publishing.windows import WindowReports
from minitik_dagster.publishing.work import Claim

_log = structlog.get_logger(__name__)
_SOON = timedelta(milliseconds=5)
_CANCEL_AGAIN = timedelta(seconds=2)
_ANNOUNCE_EVERY = timedelta(milliseconds=250)


@dataclass
class Dispatcher:
    """One dispatcher's life, from registration to its summary."""

    store: Store
    clock: DatabaseClock
    policy: EnginePolicy
    carrier: Carrier
    tally: Tally
    listener: Listener
    outbox: Outbox
    keeper: EpochKeeper
    kind: str
    instance: str
    run_id: str | None = None
    on_start: Callable[[], None] | None = None
    _tasks: dict[str, tuple[int, asyncio.Task[None]]] = field(default_factory=dict)
    _to_release: dict[str, int] = field(default_factory=dict)
    _draining: asyncio.Event = field(default_factory=asyncio.Event)
    _window_end: datetime | None = None
    _lookout: Lookout = field(default_factory=Lookout)
    _since: datetime | None = None
    _reports: WindowReports | None = None

    def drain(self) -> None:
        """Stop claiming; finish and record what is being sent; give the rest back."""
        self._draining.set()
        self.listener.wake()

    async def run(self) -> dict[str, Any]:
        """Dispatch until the window ends or a signal asks to drain; return the summary."""
        await self.clock.sample()
        if abs(self.clock.skew) > self.policy.max_skew:
            raise ConfigurationError(
                [
                    (
                        f"this machine's clock is {self.clock.skew.total_seconds():+.1f} s off the "
                        "database's; synchronise it (NTP) before it may publish"
                    )
                ]
            )
        started = self.clock.now()
        self._window_end = started + self.policy.window if self.policy.window else None
        await self._register()
        await self.carrier.pauses.look()
        if self.on_start is not None:
            self.on_start()
        keeping = [
            asyncio.create_task(self._heartbeats()),
            asyncio.create_task(self._clock_samples()),
            asyncio.create_task(self.listener.run()),
            asyncio.create_task(self.carrier.watch.run()),
            asyncio.create_task(self._windows()),
            asyncio.create_task(self.carrier.pauses.run()),
            asyncio.create_task(self.outbox.run()),
            asyncio.create_task(self._announcements()),
            asyncio.create_task(self.keeper.run()),
        ]
        try:
            await self._claim_until_done()
        finally:
            await self._wind_up()
            await end(keeping)
        return await self._sign_off()

    async def _register(self) -> None:
        await self.store.rows(
            queries.REGISTER_DISPATCHER,
            owner=self.store.owner,
            kind=self.kind,
            run_id=self.run_id,
            instance=self.instance,
            host=socket.gethostname(),
            pid=os.getpid(),
            window_end=to_db(self._window_end) if self._window_end else None,
            skew_ms=self.clock.skew / timedelta(milliseconds=1),
        )
        _log.info("dispatcher.started", dispatcher=self.store.owner, kind=self.kind)

    async def _claim_until_done(self) -> None:
        idle_since = self.clock.now()
        while not self._draining.is_set():
            try:
                if self.keeper.doubtful:
                    await self.keeper.look()
                claims = await self._claim()
            except DBAPIError as error:
                _log.warning("claim.failed", reason=type(error.orig).__name__)
                claims = []
            for claim in claims:
                self._begin(claim)
            now = self.clock.now()
            if claims or self._tasks:
                idle_since = now
            idle = now - idle_since > self.policy.idle
            if self._window_end is not None and (idle or now >= self._window_end):
                return
            if len(claims) == self._share:
                continue
            await self._sleep(claims_made=bool(claims))

    async def _claim(self) -> list[Claim]:
        # Not all at once: after a third it is seen which platforms have enough in preparation.
        room = min(self.policy.claim_limit - len(self._tasks), self._share)
        if room <= 0:
            return []
        full = self._full()
        self._since = self._lookout.since(self.clock.now(), notified=self.listener.notified)
        if self._since is None:
            self.listener.notified = False
        try:
            rows = await self.store.rows(
                queries.CLAIM,
                owner=self.store.owner,
                lease=self.policy.lease,
                window_end=to_db(self._window_end) if self._window_end else None,
                since=to_db(self._since) if self._since else None,
                full=full,
                limit=room,
            )
        except DBAPIError:
            self._lookout.not_all()
            raise
        if len(rows) == room or full:
            self._lookout.not_all()
        self.tally.claimed += len(rows)
        return [Claim.from_row(row) for row in rows]

    @property
    def _share(self) -> int:
        """How many posts of one platform may be in preparation before its others wait in the queue."""
        return max(1, self.policy.claim_limit // len(Platform))

    def _full(self) -> list[str]:
        return [platform.value for platform in self.carrier.preparation.slots.full(self._share)]

    def _begin(self, claim: Claim) -> None:
        old = self._tasks.pop(claim.publication_id, None)
        if old is not None:
            # Moved or edited under us and claimed anew: the old task's lease token is worthless.
            old[1].cancel()
        if claim.stage in {Stage.SCHEDULED, Stage.PREPARING}:
            self.carrier.preparation.slots.expect(claim.publication_id, claim.platform)
        task = asyncio.create_task(self._carry(claim), name=claim.publication_id)
        self._tasks[claim.publication_id] = (claim.lease_token, task)

    async def _carry(self, claim: Claim) -> None:
        try:
            await self.carrier.carry(claim)
        except LeaseLostError as lost:
            _log.info(
                "lease.lost",
                publication=claim.publication_id,
                platform=claim.platform.value.lower(),
                reason=str(lost),
            )
            # Where it is still ours (the account withdrawn or paused meanwhile), it is given back.
            self._to_release[claim.publication_id] = claim.lease_token
        except asyncio.CancelledError:
            self._to_release[claim.publication_id] = claim.lease_token
            raise
        except DBAPIError as error:
            _log.warning(
                "publication.database_down",
                publication=claim.publication_id,
                platform=claim.platform.value.lower(),
                reason=type(error.orig).__name__,
            )
            self._to_release[claim.publication_id] = claim.lease_token
        except Exception:
            # A defect of ours must not take the other posts' dispatcher down: this one is given
            # back after a while, from the ledger, like after a crash.
            _log.exception(
                "publication.defect",
                publication=claim.publication_id,
                platform=claim.platform.value.lower(),
            )
            self._to_release[claim.publication_id] = claim.lease_token
        finally:
            mine = self._tasks.get(claim.publication_id)
            if mine is not None and mine[0] == claim.lease_token:
                del self._tasks[claim.publication_id]
                self.carrier.preparation.slots.left(claim.publication_id)
            self.listener.wake()

    async def _sleep(self, *, claims_made: bool) -> None:
        pause = _SOON if claims_made else self.policy.poll
        # Where a platform is full its waiting rows would be the next wake again and again: the end of a
        # task wakes, or the poll.
        if not claims_made and not self._full():
            with contextlib.suppress(DBAPIError):
                since = to_db(self._since) if self._since else None
                rows = await self.store.rows(queries.NEXT_WAKE, since=since)
                wake = rows[0]["wake"] if rows else None
                if wake is not None:
                    seconds = (wake - to_db(self.clock.now())).total_seconds()
                    pause = min(pause, timedelta(seconds=max(seconds, 0.02)))
        now = self.clock.now()
        await self.listener.wait(self._lookout.pause(pause, now, notified=self.listener.notified))

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self.policy.lease.total_seconds() / 3)
            with contextlib.suppress(DBAPIError):
                await self._heartbeat()

    async def _heartbeat(self) -> None:
        await self._release_left_over()
        rows = await self.store.rows(
            queries.HEARTBEAT, owner=self.store.owner, lease=self.policy.lease
        )
        held = {row["id"]: row["lease_token"] for row in rows}
        for publication_id, (token, task) in list(self._tasks.items()):
            if held.get(publication_id) != token:
                # Its platform is named by the task that ends of it.
                _log.info("heartbeat.missed", subject=publication_id)
                task.cancel()
        await self.store.rows(
            queries.DISPATCHER_HEARTBEAT,
            owner=self.store.owner,
            skew_ms=self.clock.skew / timedelta(milliseconds=1),
        )

    async def _release_left_over(self) -> None:
        sending = self.carrier.committer.sending
        for publication_id, token in list(self._to_release.items()):
            if publication_id in sending:
                continue
            await self.store.rows(
                queries.RELEASE, id=publication_id, owner=self.store.owner, token=token
            )
            self._to_release.pop(publication_id, None)

    async def _clock_samples(self) -> None:
        while True:
            await asyncio.sleep(self.policy.clock_sample_every.total_seconds())
            with contextlib.suppress(DBAPIError):
                await self.clock.sample()
                if abs(self.clock.skew) > self.policy.max_skew:
                    # Posts keep the database's time all the same; the next start would be refused.
                    seconds = round(self.clock.skew.total_seconds(), 1)
                    _log.warning("clock.skewed", dispatcher=self.store.owner, seconds=seconds)

    async def _windows(self) -> None:
        """A run of Dagster's is one window and reports it itself; a resident one has many."""
        if self.kind == "resident":
            self._reports = WindowReports(self.store, self.clock, self.tally)
            await self._reports.run()

    async def _announcements(self) -> None:
        """Wake the streams of events, some times a second at most, beside the posts' transactions.

        Transactions that notify queue up for each other at their commit (PostgreSQL documentation,
        "NOTIFY"): a thousand posts of one instant must not.
        """
        stores = (self.store, self.carrier.endings.store)
        while True:
            await asyncio.sleep(_ANNOUNCE_EVERY.total_seconds())
            if any(store.told for store in stores):
                for store in stores:
                    store.told = False
                with contextlib.suppress(DBAPIError):
                    await self.store.rows(WAKE)

    async def _wind_up(self) -> None:
        """Let open commits finish and be recorded; cancel the rest; give the leases back."""
        tasks = [task for _, task in self._tasks.values()]
        await end(tasks)
        with contextlib.suppress(DBAPIError):
            await self._release_left_over()
        await self.carrier.committer.finish(self.policy.drain)
        with contextlib.suppress(DBAPIError):
            await self._release_left_over()
            await self.store.rows(queries.RELEASE_ALL, owner=self.store.owner)

    async def _sign_off(self) -> dict[str, Any]:
        summary = self.tally.summary()
        if self._reports is not None:
            with contextlib.suppress(DBAPIError):
                await self._reports.close()
        with contextlib.suppress(DBAPIError):
            await self.store.rows(
                queries.END_DISPATCHER, owner=self.store.owner, summary=json.dumps(summary)
            )
        _log.info("dispatcher.ended", dispatcher=self.store.owner, claimed=summary["claimed"])
        return summary


async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel the tasks until each has ended; what they raised is dropped.

    Once is not enough: Python 3.11's `wait_for`, which redis-py writes through, swallows a cancellation
    that comes in the moment of its success, and the task would go on for ever.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_CANCEL_AGAIN.total_seconds())
    await asyncio.gather(*tasks, return_exceptions=True)

"""Takes the readings that fall due at an hour: batched, bounded, inside the platforms' quotas.

Whatever was read is stored at once: a reading can never be had again. One account's failure is its own;
what a run leaves stays due for the next one until the post's next reading falls due.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from math import ceil
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from minitik_dagster.accounts.tokens import AccountToken, read_token, refresh_token
from minitik_dagster.accounts.vault import Vault, VaultError
from minitik_dagster.analytics.cadence import may_be_read
from minitik_dagster.analytics.late import note_late
from minitik_dagster.analytics.live_posts import LivePost, due_posts, partition_lock
from minitik_dagster.analytics.metrics import OFFERED
from minitik_dagster.analytics.readings import Series, document_of
from minitik_dagster.analytics.store import AnalyticsStore
from minitik_dagster.clock import Clock
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import (
    AuthExpiredError,
    DependencyDownError,
    MinitikError,
    PlatformError,
)
from minitik_dagster.platforms.limits import METRICS_BATCH
from minitik_dagster.platforms.port import PlatformClient, PostMetrics
from minitik_dagster.resilience.breaker import Breaker
from minitik_dagster.resilience.limiter import Limiter

_log = structlog.get_logger(__name__)
PAGE: Final = 5_000
AT_ONCE: Final = 8
RUN_FOR: Final = timedelta(minutes=15)
# Longer waits (a day's quota) are left to a later run.
_LONGEST_WAIT: Final = timedelta(minutes=1)
# Unhealthy answers of a platform in a row after which this run leaves it alone.
_GIVE_UP_AFTER: Final = 20
_ACCOUNTS_SHOWN: Final = 20
METRICS_CALL: Final = "metrics"
# Any token may ask for public statistics ("Videos: list"): its batches hold posts of several accounts.
_SHARED: Final = frozenset({Platform.YOUTUBE})


class RunOverError(MinitikError):
    """The run, or a platform's share in it, is over: what is left stays due."""


@dataclass
class SnapshotReport:
    """What one run did, in posts unless it says calls.

    `already`: read before; `missed`: their next reading is due already, gone for ever; `absent`: asked
    for, and the platform left them out; `no_id`: their public id is not known; `disconnected`: their
    account is; `left`: still due. `ideal_calls` is what full batches would take.
    """

    due: int = 0
    already: int = 0
    missed: int = 0
    read: int = 0
    absent: int = 0
    no_id: int = 0
    disconnected: int = 0
    failed: int = 0
    left: int = 0
    calls: int = 0
    ideal_calls: int = 0
    most_in_flight: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    bad_accounts: dict[str, str] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Return the numbers by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}

    @property
    def is_past(self) -> bool:
        """Whether nothing could be had: every reading of the hour that is not there is missed."""
        return self.missed > 0 and self.missed + self.no_id + self.disconnected == self.due


@dataclass
class _Progress:
    """How many of an account's posts were asked about."""

    posts: int = 0


@dataclass
class Snapshots:
    """One run over an hour's due posts, on connections of its own."""

    engine: AsyncEngine
    store: AnalyticsStore
    vault: Vault
    client: Callable[[Platform], PlatformClient]
    limiter: Limiter
    breaker: Breaker
    clock: Clock
    run_for: timedelta = RUN_FOR
    page: int = PAGE
    at_once: int = AT_ONCE
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    report: SnapshotReport = field(default_factory=SnapshotReport)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.at_once)
        self._in_flight = 0
        self._ends_at = time.monotonic() + self.run_for.total_seconds()
        self._unhealthy: Counter[Platform] = Counter()

    async def run(self, slot: datetime, *, user_id: str | None = None) -> SnapshotReport:
        """Read what is due at `slot` and not there yet (one person's, if named); safe to repeat.

        Raises DependencyDownError when MongoDB does not answer.
        """
        async with partition_lock(self.engine, f"analytics.readings:{slot:%Y-%m-%dT%H}"):
            taken = await asyncio.to_thread(self.store.taken, slot)
            async for posts in due_posts(self.engine, slot, page=self.page, user_id=user_id):
                wanted = self._wanted(posts, slot, taken)
                await self._read_page(wanted, slot)
        _log.info("analytics.read", slot=f"{slot:%Y-%m-%dT%H}", **self.report.counts())
        return self.report

    async def run_for_posts(self, slot: datetime, posts: Sequence[LivePost]) -> SnapshotReport:
        """Read these posts (an account's together) for the hour `slot`, due or not; errors as run's."""
        async with partition_lock(self.engine, f"analytics.readings:{slot:%Y-%m-%dT%H}"):
            taken = await asyncio.to_thread(self.store.taken, slot)
            await self._read_page(self._wanted(posts, slot, taken, any_age=True), slot)
        return self.report

    def _wanted(
        self,
        posts: Sequence[LivePost],
        slot: datetime,
        taken: set[str],
        *,
        any_age: bool = False,
    ) -> list[Series]:
        """Sort a page: what is to be read now, the rest counted by its reason."""
        report, now, wanted = self.report, self.clock.now(), []
        report.due += len(posts)
        for post in posts:
            if post.series.publication_id in taken:
                report.already += 1
            elif not post.has_id:
                report.no_id += 1
            elif not post.connected:
                report.disconnected += 1
            elif not any_age and not may_be_read(post.series.live_at, slot, now):
                report.missed += 1
            else:
                wanted.append(post.series)
        return wanted

    async def _read_page(self, wanted: Sequence[Series], slot: datetime) -> None:
        self.report.ideal_calls += ideal_calls(wanted)
        try:
            shared = [one for one in wanted if one.platform in _SHARED]
            left = await self._read_shared(shared, slot)
            own = [one for one in wanted if one.platform not in _SHARED] + left
            own.sort(key=lambda one: (one.account_id, one.publication_id))
            async with asyncio.TaskGroup() as tasks:
                for _, series in groupby(own, key=lambda one: one.account_id):
                    tasks.create_task(self._account(list(series), slot))
        except BaseExceptionGroup as group:
            # Only the loss of MongoDB ends a page, told once.
            raise group.exceptions[0] from None

    async def _read_shared(self, series: Sequence[Series], slot: datetime) -> list[Series]:
        """Read public counters in full batches, whoever's they are; return what was not told.

        That is asked for anew by its own account: what only the owner sees, and a batch whose first
        account may not ask.
        """
        size = METRICS_BATCH[Platform.YOUTUBE]
        async with asyncio.TaskGroup() as tasks:
            asked = [
                tasks.create_task(self._shared_batch(series[start : start + size], slot))
                for start in range(0, len(series), size)
            ]
        return [one for task in asked for one in task.result()]

    async def _shared_batch(self, batch: Sequence[Series], slot: datetime) -> list[Series]:
        if batch[0].account_id == batch[-1].account_id:
            return list(batch)
        async with self._seat():
            try:
                token = await read_token(self.engine, self.vault, batch[0].account_id)
                found, _ = await self._call(batch[0].platform, batch[0].account_id, batch, token)
            except Exception:  # its own account tells what is wrong with it, and stops no other
                return list(batch)
        told = list(_told(batch, found))
        await self._keep(self._documents(told, slot))
        known = {series.publication_id for series, _ in told}
        return [one for one in batch if one.publication_id not in known]

    @asynccontextmanager
    async def _seat(self) -> AsyncIterator[None]:
        async with self._slots:
            self._in_flight += 1
            self.report.most_in_flight = max(self.report.most_in_flight, self._in_flight)
            try:
                yield
            finally:
                self._in_flight -= 1

    async def _account(self, series: list[Series], slot: datetime) -> None:
        """Read one account's posts, whatever happens to it: only MongoDB's loss leaves this method."""
        platform, account_id = series[0].platform, series[0].account_id
        done = _Progress()
        async with self._seat():
            try:
                await self._batches(series, slot, done)
                outcome = "read"
            except DependencyDownError:
                raise
            except RunOverError:
                self.report.left += len(series) - done.posts
                outcome = "left"
            except VaultError:
                outcome = self._failed(series, done, "unreadable_token")
            except PlatformError as error:
                outcome = self._failed(series, done, error.code or error.outcome)
            except MinitikError as error:
                outcome = self._failed(series, done, type(error).__name__)
            except Exception:
                # A defect of ours with one account is not the others' matter.
                _log.exception("analytics.defect", account=account_id)
                outcome = self._failed(series, done, "defect")
        self.report.outcomes[f"{platform.value.lower()}: {outcome}"] += 1

    async def _batches(self, series: Sequence[Series], slot: datetime, done: "_Progress") -> None:
        """Read batch by batch; what was read is stored even where the next one fails."""
        platform, account_id = series[0].platform, series[0].account_id
        size = METRICS_BATCH[platform]
        token = await read_token(self.engine, self.vault, account_id)
        documents: list[dict[str, Any]] = []
        try:
            for start in range(0, len(series), size):
                batch = series[start : start + size]
                found, token = await self._call(platform, account_id, batch, token)
                told = list(_told(batch, found))
                # Missing is not zero: no reading, and the run says so.
                self.report.absent += len(batch) - len(told)
                documents += self._documents(told, slot)
                done.posts += len(batch)
        finally:
            await self._keep(documents)

    async def _keep(self, documents: Sequence[dict[str, Any]]) -> None:
        if documents:
            inserted = await asyncio.to_thread(self.store.insert, documents)
            self.report.read += inserted
            # Read before midnight, stored after it: that day's rollup may be made already.
            await asyncio.to_thread(note_late, self.store, documents, self.clock.now())

    def _documents(
        self, told: Iterable[tuple[Series, PostMetrics]], slot: datetime
    ) -> list[dict[str, Any]]:
        now = _to_the_millisecond(self.clock.now())
        return [document_of(series, metrics, slot, now) for series, metrics in told]

    def _failed(self, series: Sequence[Series], done: "_Progress", code: str) -> str:
        account_id = series[0].account_id
        self.report.failed += len(series) - done.posts
        if len(self.report.bad_accounts) < _ACCOUNTS_SHOWN:
            self.report.bad_accounts[account_id] = code
        _log.warning("analytics.account_not_read", account=account_id, outcome=code)
        return code

    async def _call(
        self, platform: Platform, account_id: str, batch: Sequence[Series], token: AccountToken
    ) -> tuple[list[PostMetrics], AccountToken]:
        """Ask for one batch, once more after a refresh; the token that worked goes on."""
        client, ids = self.client(platform), [one.platform_post_id for one in batch]
        for fresh in (False, True):
            await self.turn(platform, account_id)
            self.report.calls += 1
            try:
                found = await client.metrics(ids, token.access_token)
            except AuthExpiredError:
                if fresh:
                    raise
                token = await refresh_token(
                    self.engine, self.vault, client, account_id, stale_version=token.version
                )
            except PlatformError as error:
                self._unhealthy[platform] = self._unhealthy[platform] + 1 if error.unhealthy else 0
                raise
            else:
                self._unhealthy[platform] = 0
                return found, token
        raise AssertionError("the second round returns or raises")

    async def turn(self, platform: Platform, account_id: str, call: str = METRICS_CALL) -> None:
        """Wait for a place in the platform's budget; RunOverError where it is not worth waiting for.

        An open breaker is respected and never voted on: numbers that cannot be read must not hold
        posts back.
        """
        while True:
            given_up = self._unhealthy[platform] >= _GIVE_UP_AFTER
            if (
                given_up
                or time.monotonic() >= self._ends_at
                or await self.breaker.is_open(platform)
            ):
                raise RunOverError(platform.value)
            wait = await self.limiter.reserve(platform, account_id, call)
            if not wait:
                return
            if wait > _LONGEST_WAIT or time.monotonic() + wait.total_seconds() >= self._ends_at:
                raise RunOverError(platform.value)
            await self.sleep(wait.total_seconds())


def ideal_calls(series: Iterable[Series]) -> int:
    """Return how many full batches these posts fill: per account, or all together where that may be."""
    sizes = Counter(
        (one.platform, "" if one.platform in _SHARED else one.account_id) for one in series
    )
    return sum(ceil(count / METRICS_BATCH[platform]) for (platform, _), count in sizes.items())


def _told(
    batch: Sequence[Series], found: Iterable[PostMetrics]
) -> Iterator[tuple[Series, PostMetrics]]:
    """Yield the posts of which some counter was sent. Insights may come a day later."""
    by_id = {one.post_id: one for one in found}
    for series in batch:
        metrics = by_id.get(series.platform_post_id)
        names = OFFERED[series.platform]
        if metrics is not None and any(getattr(metrics, n, None) is not None for n in names):
            yield series, metrics


def _to_the_millisecond(instant: datetime) -> datetime:
    return instant - timedelta(microseconds=instant.microsecond % 1000)

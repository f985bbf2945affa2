"""Refreshes every account that needs it: bounded, paced, and no account stands in another's way.

Any number of these may run at once, here and elsewhere: the row lock and the token's version decide who
calls. What one run does not reach is still due for the next.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from minitik_dagster.accounts import token_queries as queries
from minitik_dagster.accounts.admission import admit, may_ask
from minitik_dagster.accounts.tokens import AccountToken, exchange, note_failure
from minitik_dagster.accounts.vault import Vault, VaultError
from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import (
    MinitikError,
    NotFoundError,
    PlatformError,
    RevokedError,
    ThrottledError,
    TransientError,
)
from minitik_dagster.platforms.port import PlatformClient
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.resilience.backoff import backoff_delay
from minitik_dagster.resilience.limiter import Limiter
from minitik_dagster.resilience.limits_table import budgets
from minitik_dagster.settings import Settings

_log = structlog.get_logger(__name__)
# How early a token is renewed; how long after its due instant a post still asks with its token.
SOON: Final = timedelta(minutes=30)
TAIL: Final = timedelta(minutes=30)
# An intent older than the longest refresh belongs to a process that died.
CUT_OFF_AFTER: Final = timedelta(minutes=2)
ATTEMPTS: Final = 5
# Failures of a platform in a row after which this run leaves it alone.
_GIVE_UP_AFTER: Final = 20
_PAGE, _ALIVE = 500, 1000
_UNREADABLE_WAIT: Final = timedelta(hours=1)
# A run ends before the next one of the schedule begins.
RUN_FOR: Final = timedelta(minutes=4)


@dataclass(frozen=True)
class DueAccount:
    """An account whose token must be renewed, at the version it was seen with."""

    id: str
    platform: Platform
    token_version: int | None
    rank: datetime | str


@dataclass
class RefreshReport:
    """What one run did. `already`: renewed by somebody else meanwhile; `left`: still due."""

    due: int = 0
    refreshed: int = 0
    already: int = 0
    failed: int = 0
    ended: int = 0
    left: int = 0
    calls: int = 0
    most_in_flight: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, int]:
        """Return the numbers by name."""
        names = ("due", "refreshed", "already", "failed", "ended", "left")
        return {name: getattr(self, name) for name in names}


class Refresher:
    """One run over the due accounts, on connections of its own."""

    def __init__(
        self,
        engine: AsyncEngine,
        vault: Vault,
        client: Callable[[Platform], PlatformClient],
        limiter: Limiter,
        *,
        at_once: int,
        min_interval: timedelta,
        run_for: timedelta = RUN_FOR,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Random | None = None,
    ) -> None:
        self.report = RefreshReport()
        self._engine, self._vault, self._client, self._limiter = engine, vault, client, limiter
        self._min_interval, self._sleep = min_interval, sleep
        self._random = random or Random()  # noqa: S311 - jitter, no secret
        self._slots = asyncio.Semaphore(at_once)
        self._in_flight = 0
        self._ends_at = time.monotonic() + run_for.total_seconds()
        self._failures: Counter[Platform] = Counter()

    async def run(self) -> RefreshReport:
        """Refresh what is due, the soonest to end first; return what came of it."""
        alive = asyncio.Semaphore(_ALIVE)
        async with asyncio.TaskGroup() as tasks:
            after: tuple[datetime | str, str] = ("-infinity", "")
            while page := await self._page(after):
                for account in page:
                    self.report.due += 1
                    await alive.acquire()
                    tasks.create_task(self._carry(account)).add_done_callback(
                        lambda _: alive.release()
                    )
                after = (page[-1].rank, page[-1].id)
                if len(page) < _PAGE or self._is_over():
                    break
        _log.info("tokens.refreshed", **self.report.counts())
        return self.report

    async def _page(self, after: tuple[datetime | str, str]) -> list[DueAccount]:
        values = {
            "after_rank": after[0],
            "after_id": after[1],
            "soon": SOON,
            "tail": TAIL,
            "cut_off_after": CUT_OFF_AFTER,
            "min_interval": self._min_interval,
            "limit": _PAGE,
        }
        async with self._engine.begin() as connection:
            rows = (await connection.execute(text(queries.DUE), values)).mappings().all()
        return [
            DueAccount(row["id"], Platform(row["platform"]), row["token_version"], row["rank"])
            for row in rows
        ]

    async def _carry(self, account: DueAccount) -> None:
        """Refresh one account, whatever happens to it: nothing leaves this method."""
        try:
            outcome = await self._attempts(account)
        except RevokedError as error:
            self.report.ended += 1
            outcome = error.code or error.outcome
        except VaultError:
            self.report.failed += 1
            outcome = "unreadable"
            await self._note(account, outcome)
        except DBAPIError as error:
            self.report.failed += 1
            outcome = f"database: {type(error.orig).__name__}"
        except MinitikError as error:
            self.report.failed += 1
            outcome = (error.code or error.outcome) if isinstance(error, PlatformError) else "other"
        except Exception:
            # A defect of ours with one account is not the others' matter.
            _log.exception("tokens.defect", account=account.id)
            self.report.failed += 1
            outcome = "defect"
        self.report.outcomes[f"{account.platform.value.lower()}: {outcome}"] += 1
        if outcome not in {"refreshed", "already", "left"}:
            _log.warning("token.not_refreshed", account=account.id, outcome=outcome)

    async def _attempts(self, account: DueAccount) -> str:
        for attempt in range(ATTEMPTS):
            if not await self._has_turn(account):
                self.report.left += 1
                return "left"
            try:
                async with self._slots:
                    if self._is_over(account.platform):
                        self.report.left += 1
                        return "left"
                    refreshed = await self._refresh(account)
            except TransientError as error:
                if error.code == "refreshed_just_now":
                    self.report.already += 1
                    return "already"
                self._failures[account.platform] += error.unhealthy
                wait = error.retry_after or backoff_delay(attempt, self._random)
                if attempt + 1 == ATTEMPTS or not await self._waited(wait):
                    raise
            except ThrottledError as error:
                wait = error.retry_after or timedelta(minutes=1)
                if attempt + 1 == ATTEMPTS or error.until or not await self._waited(wait):
                    raise
            else:
                self._failures[account.platform] = 0
                self.report.refreshed += refreshed
                self.report.already += not refreshed
                return "refreshed" if refreshed else "already"
        raise AssertionError("the last attempt returns or raises")

    async def _has_turn(self, account: DueAccount) -> bool:
        """Reserve the call; False when the run, or this platform's share in it, is over."""
        while True:
            if self._is_over(account.platform):
                return False
            wait = await self._limiter.reserve(account.platform, account.id, "refresh")
            if not wait:
                return True
            if not await self._waited(wait):
                return False

    async def _refresh(self, account: DueAccount) -> bool:
        def wanted(present: AccountToken) -> bool:
            return present.stored_version == account.token_version

        self._in_flight += 1
        self.report.most_in_flight = max(self.report.most_in_flight, self._in_flight)
        self.report.calls += 1
        try:
            done = await exchange(
                self._engine,
                self._vault,
                self._client(account.platform),
                account.id,
                wanted=wanted,
                min_interval=self._min_interval,
            )
        finally:
            self._in_flight -= 1
        return done.refreshed

    async def _waited(self, wait: timedelta) -> bool:
        """Wait, unless the run would be over by then."""
        if time.monotonic() + wait.total_seconds() >= self._ends_at:
            return False
        await self._sleep(wait.total_seconds())
        return True

    def _is_over(self, platform: Platform | None = None) -> bool:
        """Whether the run has ended, or for this platform, which only fails."""
        given_up = platform is not None and self._failures[platform] >= _GIVE_UP_AFTER
        return given_up or time.monotonic() >= self._ends_at

    async def _note(self, account: DueAccount, code: str) -> None:
        try:
            await note_failure(self._engine, account.id, code, wait=_UNREADABLE_WAIT)
        except DBAPIError as error:
            _log.warning("token.note_lost", account=account.id, reason=type(error.orig).__name__)


async def refresh_due(settings: Settings, *, run_for: timedelta = RUN_FOR) -> RefreshReport:
    """Refresh every account that is due, on this environment's servers, for `run_for` at most.

    Safe at any time and side by side. Raises ConfigurationError when the environment is unfit, and
    SchemaVersionError for a database of another version or stamped for other platforms; an account's
    failure is told in the report and stands in its row.
    """
    may_ask(settings)
    at_once = settings.minitik_refreshes_at_once
    vault = Vault.from_settings(settings)
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    limiter = Limiter(redis_url, budgets=budgets(settings))
    # One connection more than refreshes at once: the pages of due accounts never wait for a platform.
    engine = make_async_engine(settings.require_database_url(), pool_size=at_once + 1)
    try:
        await admit(engine, settings)
        async with PlatformClients(settings) as clients:
            return await Refresher(
                engine,
                vault,
                clients.client,
                limiter,
                at_once=at_once,
                min_interval=timedelta(seconds=settings.minitik_refresh_min_seconds),
                run_for=run_for,
            ).run()
    finally:
        await engine.dispose()
        await limiter.aclose()


async def refresh_one(settings: Settings, account_id: str) -> bool:
    """Refresh one account now; False when its tokens are younger than the minimum interval.

    Raises NotFoundError, RevokedError when it is not CONNECTED or its access has ended, and the
    platform's passing failures as they are; otherwise as refresh_due.
    """
    may_ask(settings)
    vault = Vault.from_settings(settings)
    engine = make_async_engine(settings.require_database_url(), pool_size=1)
    try:
        await admit(engine, settings)
        async with PlatformClients(settings) as clients:
            async with engine.begin() as connection:
                platform = await connection.scalar(
                    text("SELECT CAST(platform AS text) FROM accounts WHERE id = :id"),
                    {"id": account_id},
                )
            if platform is None:
                raise NotFoundError(f"no account {account_id[:64]!r}; see: minitik accounts list")
            try:
                done = await exchange(
                    engine,
                    vault,
                    clients.client(Platform(platform)),
                    account_id,
                    wanted=lambda _: True,
                    min_interval=timedelta(seconds=settings.minitik_refresh_min_seconds),
                )
            except TransientError as error:
                if error.code == "refreshed_just_now":
                    return False
                raise
            return done.refreshed
    finally:
        await engine.dispose()

"""Asks each account's platform who we are to it, once a day: a withdrawal is found before a slot is.

One cheap read (TikTok `/v2/user/info/`, Instagram `/me`, YouTube `channels.list`, 1 unit). Any number of
these may run at once: an advisory lock and `probedAt` decide who asks, and what is written is written
only where the account still has the token that was used.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from minitik_dagster.accounts import probe_queries as queries
from minitik_dagster.accounts.probes import (
    ALREADY,
    CHANGED,
    LEFT,
    NOT_CONNECTED,
    OK,
    OTHER,
    PERMISSION,
    REFUSED,
    THROTTLED,
    TRANSIENT,
    UNREADABLE,
    WITHDRAWN,
    Probe,
    ProbeReport,
)
from minitik_dagster.accounts.token_queries import WITHDRAW
from minitik_dagster.accounts.tokens import AccountToken, exchange, open_token
from minitik_dagster.accounts.vault import Vault, VaultError
from minitik_dagster.accounts.withdrawals import withdrawal
from minitik_dagster.db.types import AccountStatus, Platform, from_db
from minitik_dagster.errors import (
    AuthExpiredError,
    PlatformError,
    RevokedError,
    ThrottledError,
    TransientError,
)
from minitik_dagster.notifications.notices import ACCOUNT_UNHEALTHY, QUEUE_NOTICE, notice
from minitik_dagster.platforms.port import Identity, PlatformClient
from minitik_dagster.resilience.breaker import Breaker
from minitik_dagster.resilience.limiter import Limiter

_log = structlog.get_logger(__name__)
# Four hourly runs are left of the day when an account falls due: so many may meet a platform that is
# down, and the account is still asked within the day.
EVERY: Final = timedelta(hours=20)
# A run takes an eighth of all accounts, and so many at least.
_SHARE: Final = 8
_LEAST: Final = 100
_ASK_SECONDS: Final = 15.0
# Calls in a row that a platform did not answer, after which this run leaves it alone.
_GIVE_UP_AFTER: Final = 5
# A run ends before the next one of the schedule begins.
RUN_FOR: Final = timedelta(minutes=30)


@dataclass(frozen=True)
class _Due:
    id: str
    platform: Platform
    probed_at: datetime | None


@dataclass
class _Call:
    """One account while it is asked about; `token` is the one that was used last, and lives no longer."""

    id: str
    platform: Platform
    own_id: str
    token: AccountToken


class Prober:
    """One run over the due accounts.

    `guards` lends the connection that is held while an account is asked about, `engine` those for what is
    read and written under it: with one pool for both, guards could take every connection of a small one.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        guards: AsyncEngine,
        vault: Vault,
        client: Callable[[Platform], PlatformClient],
        limiter: Limiter,
        breaker: Breaker,
        *,
        at_once: int,
        min_interval: timedelta,
        run_for: timedelta = RUN_FOR,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.report = ProbeReport()
        self._engine, self._guards = engine, guards
        self._vault, self._client = vault, client
        self._limiter, self._breaker = limiter, breaker
        self._at_once, self._min_interval, self._sleep = at_once, min_interval, sleep
        self._in_flight = 0
        self._ends_at = time.monotonic() + run_for.total_seconds()
        self._unanswered: Counter[Platform] = Counter()
        self._used_up: set[Platform] = set()

    async def run(self) -> ProbeReport:
        """Ask about the due accounts, the longest unasked first; return what came of it."""
        values = {"every": EVERY, "least": _LEAST, "share": _SHARE}
        async with self._engine.begin() as connection:
            rows = (await connection.execute(text(queries.DUE), values)).mappings().all()
        self.report.due = len(rows)
        waiting = iter([_due(dict(row)) for row in rows])

        async def work() -> None:
            for account in waiting:
                self.report.add(await self._carry(account))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(self._at_once, len(rows))):
                tasks.create_task(work())
        _log.info("accounts.probed", **self.report.counts())
        return self.report

    async def one(self, account_id: str) -> Probe | None:
        """Ask about one account now; None when there is no such account. Errors of ours are raised."""
        async with self._engine.begin() as connection:
            found = await connection.execute(text(queries.ONE), {"id": account_id})
            row = found.mappings().one_or_none()
        return None if row is None else await self._in_turn(_due(dict(row)))

    async def _carry(self, account: _Due) -> Probe:
        """Ask about one account, whatever happens to it: nothing leaves this method."""
        try:
            return await self._in_turn(account)
        except DBAPIError as error:
            return Probe(account.id, account.platform, "database", type(error.orig).__name__)
        except Exception:
            # A defect of ours with one account is not the others' matter.
            _log.exception("probe.defect", account=account.id)
            return Probe(account.id, account.platform, "defect")

    async def _in_turn(self, account: _Due) -> Probe:
        if await self._breaker.is_open(account.platform) or not await self._has_turn(
            account, "probe"
        ):
            return Probe(account.id, account.platform, LEFT)
        self._in_flight += 1
        self.report.most_in_flight = max(self.report.most_in_flight, self._in_flight)
        try:
            async with self._guards.connect() as guard:
                # Open while the platform is asked; _ASK_SECONDS and the refresh's bound set its length.
                await guard.execute(text("SET LOCAL idle_in_transaction_session_timeout = '120s'"))
                alone = await guard.scalar(text(queries.ALONE), {"id": account.id})
                if not alone:
                    return Probe(account.id, account.platform, ALREADY)
                return await self._probe(account, guard)
        finally:
            self._in_flight -= 1

    async def _probe(self, account: _Due, guard: AsyncConnection) -> Probe:
        found = await guard.execute(text(queries.READ), {"id": account.id})
        row = found.mappings().one_or_none()
        if row is None:
            return Probe(account.id, account.platform, CHANGED)
        if row["status"] != AccountStatus.CONNECTED.value:
            return Probe(account.id, account.platform, NOT_CONNECTED, row["status"].lower())
        if row["probed_at"] != account.probed_at:
            return Probe(account.id, account.platform, ALREADY)
        call: _Call | None = None
        try:
            call = _Call(
                account.id,
                account.platform,
                row["platform_account_id"],
                _opened(self._vault, dict(row)),
            )
            identity = await self._who(call)
        except VaultError:
            return await self._problem(account, row["token_version"], UNREADABLE)
        except PlatformError as error:
            self._note(account.platform, error)
            version = call.token.stored_version if call else row["token_version"]
            return await self._told(account, version, error)
        self._unanswered[account.platform] = 0
        if identity.platform_account_id != call.own_id:
            return await self._other(account, call, identity)
        return await self._good(account, call, identity)

    async def _who(self, call: _Call) -> Identity:
        """Ask; where the token is refused, refresh it once and ask again with the new one."""
        with suppress(AuthExpiredError):
            return await self._identify(call)
        if not await self._has_turn(call, "refresh"):
            raise TransientError("no refresh has a turn in this run", code="no_turn")
        used = call.token.version
        done = await exchange(
            self._engine,
            self._vault,
            self._client(call.platform),
            call.id,
            wanted=lambda present: present.version == used,
            min_interval=self._min_interval,
        )
        call.token = done.token
        return await self._identify(call)

    async def _identify(self, call: _Call) -> Identity:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                return await self._client(call.platform).identify(call.token.access_token)
        except TimeoutError:
            raise TransientError(
                "the platform did not answer in time", code="timeout", unhealthy=True
            ) from None

    async def _told(self, account: _Due, version: int | None, error: PlatformError) -> Probe:
        code = error.code or error.outcome
        if isinstance(error, TransientError | ThrottledError):
            outcome = THROTTLED if isinstance(error, ThrottledError) else TRANSIENT
            probe = Probe(account.id, account.platform, outcome, code)
            async with self._engine.begin() as connection:
                if await _same(connection, account.id, version) is not None:
                    values = {"id": account.id, "outcome": probe.text}
                    await connection.execute(text(queries.UNANSWERED), values)
            return probe
        if isinstance(error, RevokedError) and not error.permission:
            return await self._withdrawn(account, version, error)
        outcome = PERMISSION if isinstance(error, RevokedError) else REFUSED
        return await self._problem(account, version, outcome, code, error)

    async def _withdrawn(self, account: _Due, version: int | None, error: RevokedError) -> Probe:
        """Mark the account and tell its owner, unless a refresh has done so; then note the probe."""
        probe = Probe(account.id, account.platform, WITHDRAWN, error.code or error.outcome)
        return await self._end(account, version, probe, withdrawal(account.id, error))

    async def _end(
        self, account: _Due, version: int | None, probe: Probe, ending: Mapping[str, Any]
    ) -> Probe:
        values = {"id": account.id, "version": version, "outcome": probe.text}
        async with self._engine.begin() as connection:
            if await _same(connection, account.id, version) is not None:
                await connection.execute(text(WITHDRAW), ending)
            ended = (await connection.execute(text(queries.ENDED), values)).first()
        return probe if ended else Probe(account.id, account.platform, CHANGED)

    async def _problem(
        self,
        account: _Due,
        version: int | None,
        outcome: str,
        code: str = "",
        error: PlatformError | None = None,
    ) -> Probe:
        """Mark a problem of an account that stays connected; its owner is told when it is new."""
        probe = Probe(account.id, account.platform, outcome, code)
        async with self._engine.begin() as connection:
            same = await _same(connection, account.id, version)
            if same is None:
                return Probe(account.id, account.platform, CHANGED)
            await connection.execute(
                text(queries.PROBLEM), {"id": account.id, "outcome": probe.text}
            )
            if error is not None and same["before"] != outcome:
                told = notice(
                    ACCOUNT_UNHEALTHY,
                    userId=same["user_id"],
                    accountId=account.id,
                    platform=account.platform.value.lower(),
                    reason=error.reason,
                    fix=error.fix or "reconnect the account",
                )
                await connection.execute(text(QUEUE_NOTICE), told)
        return probe

    async def _other(self, account: _Due, call: _Call, identity: Identity) -> Probe:
        """The token speaks for somebody else: nothing of them is stored, and nothing may be posted.

        A row of the old system may hold another kind of id: it is reported and stays connected.
        """
        version = call.token.stored_version
        async with self._engine.begin() as connection:
            same = await _same(connection, account.id, version)
        if same is not None and not same["ours"]:
            return await self._problem(account, version, OTHER)
        _log.error("account.other_identity", account=account.id, platform=account.platform.value)
        error = RevokedError(
            f"the access speaks for another account ({identity.platform_account_id}) than the one "
            f"that was connected ({call.own_id}); reconnect the account",
            code=OTHER,
        )
        ending = withdrawal(account.id, error) | {"status": AccountStatus.ERROR.value}
        probe = Probe(account.id, account.platform, OTHER)
        return await self._end(account, version, probe, ending)

    async def _good(self, account: _Due, call: _Call, identity: Identity) -> Probe:
        values = {
            "id": account.id,
            "username": identity.username,
            "details": json.dumps(dict(identity.details)),
        }
        async with self._engine.begin() as connection:
            if await _same(connection, account.id, call.token.stored_version) is None:
                return Probe(account.id, account.platform, CHANGED)
            await connection.execute(text(queries.OK), values)
        return Probe(account.id, account.platform, OK)

    def _note(self, platform: Platform, error: PlatformError) -> None:
        """See when a platform does not answer. The breaker is not told: a chore stops no post."""
        unanswered = isinstance(error, ThrottledError) or error.unhealthy
        self._unanswered[platform] = self._unanswered[platform] + 1 if unanswered else 0
        if isinstance(error, ThrottledError) and error.until is not None:
            self._used_up.add(platform)

    async def _has_turn(self, account: _Due | _Call, call: str) -> bool:
        """Reserve the call; False when the run, or this platform's share in it, is over."""
        while True:
            if (
                account.platform in self._used_up
                or self._unanswered[account.platform] >= _GIVE_UP_AFTER
                or time.monotonic() >= self._ends_at
            ):
                return False
            wait = await self._limiter.reserve(account.platform, account.id, call)
            if not wait:
                return True
            if time.monotonic() + wait.total_seconds() >= self._ends_at:
                return False
            await self._sleep(wait.total_seconds())


async def _same(
    connection: AsyncConnection, account_id: str, version: int | None
) -> Mapping[str, Any] | None:
    values = {"id": account_id, "version": version}
    found = (await connection.execute(text(queries.SAME), values)).mappings().one_or_none()
    return None if found is None else dict(found)


def _due(row: Mapping[str, Any]) -> _Due:
    return _Due(row["id"], Platform(row["platform"]), row["probed_at"])


def _opened(vault: Vault, row: Mapping[str, Any]) -> AccountToken:
    expires = row["expires_at"]
    token = open_token(vault, row["id"], row["access_token"], from_db(expires) if expires else None)
    return replace(token, stored_version=row["token_version"])

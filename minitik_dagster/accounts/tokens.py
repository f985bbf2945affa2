"""Access tokens: read at each call, refreshed once at a time across processes (engine.md R8)."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final
from weakref import WeakKeyDictionary

import structlog
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from minitik_dagster.accounts import token_queries as queries
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.accounts.withdrawals import withdrawal
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import (
    MinitikError,
    NotFoundError,
    PlatformError,
    RevokedError,
    ThrottledError,
    TransientError,
)
from minitik_dagster.platforms.port import PlatformClient, TokenSet
from minitik_dagster.resilience.backoff import backoff_delay

_log = structlog.get_logger(__name__)
_random = Random()  # noqa: S311 - jitter, no secret
# Below the statement timeout (db.engine): who waits for the row lock outlasts one call.
REFRESH_SECONDS: Final = 15.0
# New tokens that cannot be stored are lost for good where refresh tokens are single-use.
_SAVE_TRIES: Final = 20
_SAVE_PAUSE_SECONDS: Final = 0.5

_REFRESHES_AT_ONCE: Final = 3
_refreshing: WeakKeyDictionary[AsyncEngine, asyncio.Semaphore] = WeakKeyDictionary()

# A successful refresh is not repeated sooner, whoever asks: single-use refresh tokens are not burnt.
MIN_INTERVAL: Final = timedelta(seconds=60)
# An intent whose owner does not hold the row is milliseconds old while that lives.
_SURELY_DEAD: Final = timedelta(seconds=1)
# Failures after which the platform may have given new tokens that nobody has read.
_UNREAD: Final = frozenset({"timeout", "connection_cut", "transport", "refresh_timeout"})


@dataclass(frozen=True)
class AccountToken:
    """An account's present access token; `version` changes with every refresh and reveals nothing.

    `stored_version` is the row's tokenVersion: None until its tokens were stored here for the first
    time, as in an adopted database.
    """

    account_id: str
    access_token: SecretStr
    version: str
    expires_at: datetime | None
    stored_version: int | None = None


@dataclass(frozen=True)
class Exchange:
    """The account's token after `exchange`; `refreshed` is false when nobody had to be asked."""

    token: AccountToken
    refreshed: bool


def open_token(
    vault: Vault, account_id: str, sealed: str, expires_at: datetime | None
) -> AccountToken:
    """Open a sealed access token that was read with its account; RevokedError when it is empty."""
    opened = vault.open(sealed) if sealed else ""
    if not opened:
        raise RevokedError("the account has no access token; reconnect it", code="no_token")
    # Of the token, not of its sealed form: key rotation is no new token.
    version = hashlib.sha256(opened.encode()).hexdigest()[:16]
    return AccountToken(account_id, SecretStr(opened), version, expires_at)


async def read_token(engine: AsyncEngine, vault: Vault, account_id: str) -> AccountToken:
    """Read the account's token anew; RevokedError when the account is not CONNECTED."""
    async with engine.begin() as connection:
        row = await _row(connection, queries.READ, account_id)
    return _token(vault, row)


async def refresh_token(
    engine: AsyncEngine,
    vault: Vault,
    client: PlatformClient,
    account_id: str,
    *,
    stale_version: str,
    min_interval: timedelta = MIN_INTERVAL,
) -> AccountToken:
    """Refresh once under the account's row lock and save before use.

    Another process that waited for the lock finds a new version and calls nobody: refresh tokens may
    be single-use. The invalid_grant class marks the account EXPIRED or REVOKED and is raised as
    RevokedError; a passing failure leaves it CONNECTED and is raised as it is. Tokens younger than
    `min_interval` are not refreshed again: TransientError `refreshed_just_now`.

    A caller that is cancelled meanwhile waits until the answer is stored: a refresh token that was
    used and whose successor is thrown away ends the account.
    """
    async with _at_once(engine):
        done = await exchange(
            engine,
            vault,
            client,
            account_id,
            wanted=lambda present: present.version == stale_version,
            min_interval=min_interval,
        )
    return done.token


async def exchange(
    engine: AsyncEngine,
    vault: Vault,
    client: PlatformClient,
    account_id: str,
    *,
    wanted: Callable[[AccountToken], bool],
    min_interval: timedelta = MIN_INTERVAL,
) -> Exchange:
    """Refresh if the token read under the row lock is still `wanted`; errors as refresh_token's."""
    work = asyncio.ensure_future(
        _refresh(engine, vault, client, account_id, wanted=wanted, min_interval=min_interval)
    )
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # looked at: the caller hears of its cancellation only
        raise


async def note_failure(
    engine: AsyncEngine, account_id: str, code: str, *, wait: timedelta, unread: bool = False
) -> None:
    """Record a refresh that gave nothing; the schedule leaves the account alone for `wait`."""
    values = {"id": account_id, "code": code[:100], "wait": wait, "unread": unread}
    async with engine.begin() as connection:
        await connection.execute(text(queries.FAILED), values)


async def _refresh(
    engine: AsyncEngine,
    vault: Vault,
    client: PlatformClient,
    account_id: str,
    *,
    wanted: Callable[[AccountToken], bool],
    min_interval: timedelta,
) -> Exchange:
    while True:
        present, mine, cut_off = await _begin(engine, vault, account_id, wanted, min_interval)
        if present is not None:
            return Exchange(present, refreshed=False)
        done = await _under_lock(
            engine, vault, client, account_id, wanted, min_interval, mine=mine, cut_off=cut_off
        )
        if done is not None:
            return done


async def _begin(
    engine: AsyncEngine,
    vault: Vault,
    account_id: str,
    wanted: Callable[[AccountToken], bool],
    min_interval: timedelta,
) -> tuple[AccountToken | None, datetime | None, datetime | None]:
    """Commit the intent: whatever kills us from here on can be seen afterwards.

    Returns the present token when nothing is to be done; else the intent's instant if it is ours, and
    the one it stands in for. A fresh intent of another process serves us as well, and a row that
    somebody holds is not waited for here: fifty callers write one intent.
    """
    async with engine.begin() as connection:
        row = await _row(connection, queries.READ, account_id)
        for locked in (False, True):
            token = _token(vault, row)
            if not wanted(token):
                return token, None, None
            _leave_alone(row, min_interval)
            since = row["since_started"]
            if since is not None and since < timedelta(seconds=REFRESH_SECONDS):
                return None, None, None
            if not locked:
                free = await connection.execute(text(queries.TRY_LOCK), {"id": account_id})
                found = free.mappings().one_or_none()
                if found is None:
                    return None, None, None
                row = dict(found)
        begun = await connection.execute(text(queries.BEGIN), {"id": account_id})
        return None, begun.scalar_one(), row["started_at"]


async def _under_lock(
    engine: AsyncEngine,
    vault: Vault,
    client: PlatformClient,
    account_id: str,
    wanted: Callable[[AccountToken], bool],
    min_interval: timedelta,
    *,
    mine: datetime | None,
    cut_off: datetime | None,
) -> Exchange | None:
    """Ask the platform and store its answer; None when the intent is gone and must be written anew."""
    async with engine.connect() as connection:
        # The platform's answer is awaited under the lock; REFRESH_SECONDS bounds it.
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '60s'"))
        row = await _row(connection, queries.LOCK, account_id)
        token = _token(vault, row)
        if not wanted(token):
            return Exchange(token, refreshed=False)
        _leave_alone(row, min_interval)
        if row["started_at"] is None:
            return None
        if row["started_at"] != mine and row["since_started"] >= _SURELY_DEAD:
            # Under the lock its owner waits for no answer: it died, or never read one.
            cut_off = row["started_at"]
        sealed = row["refresh_token"]
        refresh = SecretStr(vault.open(sealed)) if sealed else SecretStr("")
        try:
            fresh = await _ask(client, token.access_token, refresh)
        except RevokedError as refused:
            error = _lost(refused, from_db(cut_off)) if cut_off else refused
            await connection.execute(text(queries.WITHDRAW), withdrawal(account_id, error))
            await connection.commit()
            if error is refused:
                raise
            raise error from None
        except MinitikError as error:
            await _note(connection, row, error)
            raise
        columns = _columns(vault, row, fresh, old_refresh=refresh)
        try:
            await connection.execute(text(queries.SAVE), columns)
            await connection.commit()
            stored = True
        except DBAPIError as error:
            stored = False
            _log.warning("token.save_again", account=account_id, reason=type(error.orig).__name__)
    if not stored:
        await _save_again(engine, columns)
    return Exchange(await read_token(engine, vault, account_id), refreshed=True)


async def _ask(client: PlatformClient, access: SecretStr, refresh: SecretStr) -> TokenSet:
    try:
        async with asyncio.timeout(REFRESH_SECONDS):
            return await client.refresh(access, refresh if refresh.get_secret_value() else None)
    except TimeoutError:
        raise TransientError(
            "the platform did not answer a token refresh in time",
            code="refresh_timeout",
            unhealthy=True,
        ) from None


def _leave_alone(row: Mapping[str, Any], min_interval: timedelta) -> None:
    since = row["since_refreshed"]
    if since is not None and timedelta(0) <= since < min_interval:
        error = TransientError(
            f"the account's tokens are {since.total_seconds():.0f} s old; "
            f"they are refreshed every {min_interval.total_seconds():.0f} s at most",
            code="refreshed_just_now",
        )
        error.retry_after = min_interval - since
        raise error


def _lost(refused: RevokedError, started_at: datetime) -> RevokedError:
    """Say what is known: an earlier refresh ended unseen, and its answer may have held the tokens."""
    lost = RevokedError(
        f"{refused.reason}; a refresh that began at {started_at:%Y-%m-%d %H:%M:%S} UTC was cut off "
        "before its answer was stored, so the platform may have replaced the tokens",
        code="refresh_cut_off",
        fix="reconnect the account",
    )
    lost.expired = True
    return lost


async def _note(connection: AsyncConnection, row: Mapping[str, Any], error: MinitikError) -> None:
    code = error.code or error.outcome if isinstance(error, PlatformError) else "not_possible"
    wait = backoff_delay(min(row["failures"] or 0, 8), _random)
    if isinstance(error, TransientError | ThrottledError):
        wait = max(wait, error.retry_after or wait)
    values = {"id": row["id"], "code": code[:100], "wait": wait, "unread": code in _UNREAD}
    try:
        await connection.execute(text(queries.FAILED), values)
        await connection.commit()
    except DBAPIError as broken:  # the failure itself is what the caller must hear
        _log.warning("token.note_lost", account=row["id"], reason=type(broken.orig).__name__)


def _at_once(engine: AsyncEngine) -> asyncio.Semaphore:
    """Few refreshes of a dispatcher wait for platforms at a time: each holds one of its connections."""
    return _refreshing.setdefault(engine, asyncio.Semaphore(_REFRESHES_AT_ONCE))


async def _save_again(engine: AsyncEngine, columns: dict[str, Any]) -> None:
    """Store tokens whose connection broke, for as long as a short outage of PostgreSQL lasts.

    The row lock went with the connection; the comparison with the old version stands for it.
    """
    for left in range(_SAVE_TRIES, 0, -1):
        try:
            async with engine.begin() as connection:
                await connection.execute(text(queries.SAVE), columns)
            return
        except DBAPIError:
            if left == 1:
                raise
        await asyncio.sleep(_SAVE_PAUSE_SECONDS)


async def _row(connection: AsyncConnection, statement: str, account_id: str) -> Mapping[str, Any]:
    found = (await connection.execute(text(statement), {"id": account_id})).mappings().one_or_none()
    if found is None:
        raise NotFoundError(f"no account {account_id}")
    return dict(found)


def _columns(
    vault: Vault, row: Mapping[str, Any], fresh: TokenSet, *, old_refresh: SecretStr
) -> dict[str, Any]:
    new_refresh = fresh.refresh_token.get_secret_value() if fresh.refresh_token else ""
    return {
        "id": row["id"],
        "access": vault.seal(fresh.access_token.get_secret_value()),
        "refresh": vault.seal(new_refresh) if new_refresh else None,
        "lives": fresh.expires_in,
        "refresh_lives": fresh.refresh_expires_in,
        "rotated": bool(new_refresh) and new_refresh != old_refresh.get_secret_value(),
        "old_version": row["token_version"],
    }


def _token(vault: Vault, row: Mapping[str, Any]) -> AccountToken:
    if row["status"] != "CONNECTED":
        raise RevokedError(
            f"the account is {row['status']}; reconnect it", code=str(row["status"]).lower()
        )
    expires = row["expires_at"]
    opened = open_token(
        vault, row["id"], row["access_token"], from_db(expires) if expires else None
    )
    return replace(opened, stored_version=row["token_version"])

"""Access tokens: read at each call, refreshed once at a time across processes (engine.md R8)."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

import structlog
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import NotFoundError, RevokedError, TransientError
from minitik_dagster.platforms.port import PlatformClient, TokenSet

_log = structlog.get_logger(__name__)
# Below the statement timeout (db.engine): who waits for the row lock outlasts one call.
REFRESH_SECONDS: Final = 15.0
# New tokens that cannot be stored are lost for good where refresh tokens are single-use.
_SAVE_TRIES: Final = 20
_SAVE_PAUSE_SECONDS: Final = 0.5

_REFRESHES_AT_ONCE: Final = 3
_refreshing: WeakKeyDictionary[AsyncEngine, asyncio.Semaphore] = WeakKeyDictionary()

_READ = """
SELECT id, status, "accessToken" AS access_token, "refreshToken" AS refresh_token,
    "tokenExpiresAt" AS expires_at
FROM accounts WHERE id = :id
"""
_LOCK = _READ + " FOR UPDATE"
# An empty new refresh token never overwrites the old one (Google's answer has none). The old access
# token is compared: only the tokens that were refreshed are replaced.
_SAVE = """
UPDATE accounts SET "accessToken" = :access, "refreshToken" = COALESCE(:refresh, "refreshToken"),
    "tokenExpiresAt" = (statement_timestamp() AT TIME ZONE 'UTC') + CAST(:lives AS interval)
WHERE id = :id AND "accessToken" = :old_access
"""
_WITHDRAW = """UPDATE accounts SET status = CAST(:status AS "AccountStatus") WHERE id = :id"""


@dataclass(frozen=True)
class AccountToken:
    """An account's present access token; `version` changes with every refresh and reveals nothing."""

    account_id: str
    access_token: SecretStr
    version: str
    expires_at: datetime | None


def open_token(
    vault: Vault, account_id: str, sealed: str, expires_at: datetime | None
) -> AccountToken:
    """Open a sealed access token that was read with its account; RevokedError when it is empty."""
    opened = vault.open(sealed) if sealed else ""
    if not opened:
        raise RevokedError("the account has no access token; reconnect it", code="no_token")
    version = hashlib.sha256(sealed.encode()).hexdigest()[:16]
    return AccountToken(account_id, SecretStr(opened), version, expires_at)


async def read_token(engine: AsyncEngine, vault: Vault, account_id: str) -> AccountToken:
    """Read the account's token anew; RevokedError when the account is not CONNECTED."""
    async with engine.begin() as connection:
        row = await _row(connection, _READ, account_id)
    return _token(vault, row)


async def refresh_token(
    engine: AsyncEngine,
    vault: Vault,
    client: PlatformClient,
    account_id: str,
    *,
    stale_version: str,
) -> AccountToken:
    """Refresh once under the account's row lock and save before use.

    Another process that waited for the lock finds a new version and calls nobody: refresh tokens may
    be single-use. The invalid_grant class marks the account EXPIRED or REVOKED and is raised as
    RevokedError; a passing failure leaves it CONNECTED and is raised as it is.

    A caller that is cancelled meanwhile waits until the answer is stored: a refresh token that was
    used and whose successor is thrown away ends the account.
    """
    work = asyncio.ensure_future(_refresh(engine, vault, client, account_id, stale_version))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # looked at: the caller hears of its cancellation only
        raise


async def _refresh(
    engine: AsyncEngine, vault: Vault, client: PlatformClient, account_id: str, stale_version: str
) -> AccountToken:
    async with _at_once(engine), engine.connect() as connection:
        # The platform's answer is awaited under the lock; REFRESH_SECONDS bounds it.
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '60s'"))
        row = await _row(connection, _LOCK, account_id)
        token = _token(vault, row)
        if token.version != stale_version:
            return token
        sealed = row["refresh_token"]
        refresh = vault.open(sealed) if sealed else ""
        try:
            async with asyncio.timeout(REFRESH_SECONDS):
                fresh = await client.refresh(
                    token.access_token, SecretStr(refresh) if refresh else None
                )
        except RevokedError as error:
            status = "EXPIRED" if error.expired else "REVOKED"
            await connection.execute(text(_WITHDRAW), {"id": account_id, "status": status})
            await connection.commit()
            raise
        except TimeoutError:
            raise TransientError(
                "the platform did not answer a token refresh in time",
                code="refresh_timeout",
                unhealthy=True,
            ) from None
        columns = _columns(vault, account_id, fresh) | {"old_access": row["access_token"]}
        try:
            await connection.execute(text(_SAVE), columns)
            await connection.commit()
            stored = True
        except DBAPIError as error:
            stored = False
            _log.warning("token.save_again", account=account_id, reason=type(error.orig).__name__)
    if not stored:
        await _save_again(engine, columns)
    return await read_token(engine, vault, account_id)


def _at_once(engine: AsyncEngine) -> asyncio.Semaphore:
    """Few refreshes of a process wait for platforms at a time: each holds one of its connections."""
    return _refreshing.setdefault(engine, asyncio.Semaphore(_REFRESHES_AT_ONCE))


async def _save_again(engine: AsyncEngine, columns: dict[str, Any]) -> None:
    """Store tokens whose connection broke, for as long as a short outage of PostgreSQL lasts.

    The row lock went with the connection; the comparison with the old token stands for it.
    """
    for left in range(_SAVE_TRIES, 0, -1):
        try:
            async with engine.begin() as connection:
                await connection.execute(text(_SAVE), columns)
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


def _columns(vault: Vault, account_id: str, fresh: TokenSet) -> dict[str, Any]:
    new_refresh = fresh.refresh_token.get_secret_value() if fresh.refresh_token else ""
    return {
        "id": account_id,
        "access": vault.seal(fresh.access_token.get_secret_value()),
        "refresh": vault.seal(new_refresh) if new_refresh else None,
        "lives": fresh.expires_in,
    }


def _token(vault: Vault, row: Mapping[str, Any]) -> AccountToken:
    if row["status"] != "CONNECTED":
        raise RevokedError(
            f"the account is {row['status']}; reconnect it", code=str(row["status"]).lower()
        )
    expires = row["expires_at"]
    return open_token(vault, row["id"], row["access_token"], from_db(expires) if expires else None)

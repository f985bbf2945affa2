"""The last uses of a disconnected account's tokens: undoing, withdrawing at the platform, emptying.

Every other reader refuses an account that is not CONNECTED. Here the row must be REVOKED with its
`disconnectedAt`; a reconnect clears that, and wins wherever it comes.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from minitik_dagster.accounts.tokens import (
    REFRESH_SECONDS,
    AccountToken,
    open_token,
    read_token,
    refresh_token,
)
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.types import from_db, to_db
from minitik_dagster.errors import (
    AuthExpiredError,
    NotFoundError,
    PlatformError,
    RevokedError,
    TransientError,
)
from minitik_dagster.platforms.port import PlatformClient, Removal, TokenSet

_READ: Final = """
SELECT id, status, "accessToken" AS access_token, "refreshToken" AS refresh_token,
    "tokenExpiresAt" AS expires_at, "disconnectedAt" AS disconnected_at
FROM accounts WHERE id = :id
"""
_LOCK: Final = _READ + " FOR NO KEY UPDATE"
_SAVE: Final = """
UPDATE accounts SET "accessToken" = :access, "refreshToken" = COALESCE(:refresh, "refreshToken"),
    "tokenExpiresAt" = (statement_timestamp() AT TIME ZONE 'UTC') + CAST(:lives AS interval),
    "tokenVersion" = COALESCE("tokenVersion", 0) + 1
WHERE id = :id
"""
_EMPTY: Final = """
UPDATE accounts SET "accessToken" = '', "refreshToken" = NULL, "tokenExpiresAt" = NULL,
    "refreshTokenExpiresAt" = NULL, "tokenVersion" = COALESCE("tokenVersion", 0) + 1
WHERE id = :id AND status = 'REVOKED' AND "disconnectedAt" = :disconnected_at
    AND "accessToken" = :old
"""
RECONNECTED: Final = "connected again in between: nothing was withdrawn and its tokens stay"


@dataclass(frozen=True)
class Parted:
    """How an account's access ended; `emptied` is false where a reconnect was faster."""

    emptied: bool
    outcome: str


async def read_parting(engine: AsyncEngine, vault: Vault, account_id: str) -> AccountToken:
    """Read the access token of an account that is CONNECTED or being disconnected.

    Raises RevokedError otherwise, and where the tokens are empty already.
    """
    row = await _disconnected(engine, account_id)
    if row is None:
        return await read_token(engine, vault, account_id)
    return _opened(vault, row)


async def refresh_parting(
    engine: AsyncEngine, vault: Vault, client: PlatformClient, account_id: str, stale_version: str
) -> AccountToken:
    """Refresh as `accounts.tokens.refresh_token`, also for an account that is being disconnected."""
    if await _disconnected(engine, account_id) is None:
        return await refresh_token(engine, vault, client, account_id, stale_version=stale_version)
    async with engine.connect() as connection:
        await _allow_waiting(connection)
        row = await _locked(connection, account_id)
        token = _opened(vault, row)
        if token.version != stale_version or row["disconnected_at"] is None:
            return token
        access, refresh = _both(vault, row)
        await _renew(connection, vault, client, account_id, access, refresh)
        await connection.commit()
    return await read_parting(engine, vault, account_id)


async def part(
    connection: AsyncConnection,
    vault: Vault,
    client: PlatformClient,
    account_id: str,
    disconnected_at: datetime,
    *,
    give_up: str | None = None,
) -> Parted:
    """Withdraw our access at the platform and empty the tokens, under the account's row lock.

    The caller commits. Cut anywhere, it is repeated: a platform that no longer knows the token is
    done. `give_up` (why) empties without asking the platform. Raises PlatformError while the platform
    cannot be asked; a token that was rotated on the way is stored by then.
    """
    await _allow_waiting(connection)
    row = await _locked(connection, account_id)
    stood = row["disconnected_at"] == to_db(disconnected_at) and row["status"] == "REVOKED"
    if not stood:
        return Parted(emptied=False, outcome=RECONNECTED)
    if give_up is not None:
        outcome = give_up
    elif not row["access_token"]:
        outcome = "there was no token to withdraw"
    else:
        try:
            outcome = await _withdraw(connection, vault, client, row)
        except PlatformError:
            await connection.commit()
            raise
        row = await _locked(connection, account_id)
    values = {
        "id": account_id,
        "disconnected_at": to_db(disconnected_at),
        "old": row["access_token"],
    }
    emptied = await connection.execute(text(_EMPTY), values)
    return Parted(emptied=emptied.rowcount == 1, outcome=outcome)


async def _withdraw(
    connection: AsyncConnection, vault: Vault, client: PlatformClient, row: Mapping[str, Any]
) -> str:
    access, refresh = _both(vault, row)
    try:
        return _said(await _in_time(client.revoke(access, refresh)))
    except AuthExpiredError:
        pass
    # It may only have run out: TikTok takes no access token that is older than its lifetime.
    try:
        fresh = await _renew(connection, vault, client, row["id"], access, refresh)
    except RevokedError:
        return "the platform had ended the access before"
    try:
        return _said(await _in_time(client.revoke(fresh.access_token, fresh.refresh_token)))
    except AuthExpiredError as error:
        return f"the platform refuses to withdraw it: {error}"


def _said(removal: Removal) -> str:
    return "withdrawn at the platform" if removal.done else removal.instruction


async def _renew(
    connection: AsyncConnection,
    vault: Vault,
    client: PlatformClient,
    account_id: str,
    access: SecretStr,
    refresh: SecretStr | None,
) -> TokenSet:
    fresh: TokenSet = await _in_time(client.refresh(access, refresh))
    rotated = fresh.refresh_token
    values = {
        "id": account_id,
        "access": vault.seal(fresh.access_token.get_secret_value()),
        "refresh": vault.seal(rotated.get_secret_value()) if rotated else None,
        "lives": fresh.expires_in,
    }
    await connection.execute(text(_SAVE), values)
    return fresh


async def _in_time(call: Any) -> Any:
    try:
        async with asyncio.timeout(REFRESH_SECONDS):
            return await call
    except TimeoutError:
        raise TransientError("the platform did not answer in time", code="timeout") from None


async def _allow_waiting(connection: AsyncConnection) -> None:
    # The platform's answers are awaited under the lock; REFRESH_SECONDS bounds each.
    await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '60s'"))


async def _disconnected(engine: AsyncEngine, account_id: str) -> Mapping[str, Any] | None:
    async with engine.begin() as connection:
        row = (await connection.execute(text(_READ), {"id": account_id})).mappings().one_or_none()
    parting = row is not None and row["status"] == "REVOKED" and row["disconnected_at"] is not None
    return dict(row) if row is not None and parting else None


async def _locked(connection: AsyncConnection, account_id: str) -> Mapping[str, Any]:
    row = (await connection.execute(text(_LOCK), {"id": account_id})).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"no account {account_id}")
    return dict(row)


def _opened(vault: Vault, row: Mapping[str, Any]) -> AccountToken:
    expires = row["expires_at"]
    return open_token(vault, row["id"], row["access_token"], from_db(expires) if expires else None)


def _both(vault: Vault, row: Mapping[str, Any]) -> tuple[SecretStr, SecretStr | None]:
    refresh = vault.open(row["refresh_token"]) if row["refresh_token"] else ""
    return SecretStr(vault.open(row["access_token"])), SecretStr(refresh) if refresh else None

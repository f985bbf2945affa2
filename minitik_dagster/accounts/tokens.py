"""Access tokens: read at each call, refreshed once at a time across processes (engine.md R8)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import RevokedError
from minitik_dagster.platforms.port import PlatformClient, TokenSet

_READ = """
SELECT id, status, "accessToken" AS access_token, "refreshToken" AS refresh_token,
    "tokenExpiresAt" AS expires_at
FROM accounts WHERE id = :id
"""
_LOCK = _READ + " FOR UPDATE"
# An empty new refresh token never overwrites the old one (Google's answer has none).
_SAVE = """
UPDATE accounts SET "accessToken" = :access, "refreshToken" = COALESCE(:refresh, "refreshToken"),
    "tokenExpiresAt" = (statement_timestamp() AT TIME ZONE 'UTC') + CAST(:lives AS interval)
WHERE id = :id
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
    """Open a sealed access token that was read with its account."""
    if not sealed:
        raise RevokedError("the account has no access token; reconnect it", code="no_token")
    version = hashlib.sha256(sealed.encode()).hexdigest()[:16]
    return AccountToken(account_id, SecretStr(vault.open(sealed)), version, expires_at)


async def read_token(engine: AsyncEngine, vault: Vault, account_id: str) -> AccountToken:
    """Read the account's token anew; RevokedError when the account is not CONNECTED."""
    async with engine.begin() as connection:
        found = await connection.execute(text(_READ), {"id": account_id})
        row = found.mappings().one()
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
    """
    async with engine.connect() as connection:
        # The platform's answer is awaited under the lock; it is bounded by the client's time-outs.
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '60s'"))
        row = (await connection.execute(text(_LOCK), {"id": account_id})).mappings().one()
        token = _token(vault, row)
        if token.version != stale_version:
            return token
        refresh = row["refresh_token"]
        try:
            fresh = await client.refresh(
                token.access_token, SecretStr(vault.open(refresh)) if refresh else None
            )
        except RevokedError as error:
            status = "EXPIRED" if error.expired else "REVOKED"
            await connection.execute(text(_WITHDRAW), {"id": account_id, "status": status})
            await connection.commit()
            raise
        await connection.execute(text(_SAVE), _columns(vault, account_id, fresh))
        await connection.commit()
    return await read_token(engine, vault, account_id)


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

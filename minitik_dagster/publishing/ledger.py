"""The desk that a platform client works at: tokens, the ledger and handles, behind the fence."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from minitik_dagster.accounts.tokens import AccountToken, read_token, refresh_token
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.types import from_db, to_db
from minitik_dagster.errors import PlatformError
from minitik_dagster.ids import new_id
from minitik_dagster.platforms.port import Handle, PlatformClient
from minitik_dagster.publishing import handle_queries, queries
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.publishing.patience import patiently
from minitik_dagster.publishing.store import Store
from minitik_dagster.publishing.work import Claim


@dataclass
class _Step:
    step_id: str
    code: str | None = None
    request_id: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    def answered(self, code: str, request_id: str | None = None, **detail: Any) -> None:
        self.code = code
        self.request_id = request_id
        self.detail.update(detail)


@dataclass(frozen=True)
class StoredHandle:
    """A handle with its state: active, used (committed), dropped or dead.

    `maybe_sent`: a commit on it left us without a documented refusal, so the platform has the last
    word before another handle is made (engine.md R2).
    """

    handle: Handle
    state: str
    maybe_sent: bool


class LedgerDesk:
    """Implements platforms.port.Desk for one claim."""

    _begin_sql = queries.BEGIN_STEP
    _end_sql = queries.END_STEP

    def __init__(
        self, store: Store, claim: Claim, *, vault: Vault, clock: DatabaseClock, policy_version: str
    ) -> None:
        self._store = store
        self._claim = claim
        self._vault = vault
        self._clock = clock
        self._policy_version = policy_version
        self._handle_id: str | None = None
        self.last_token: AccountToken | None = None

    def now(self) -> datetime:
        """Return the present instant by the database's clock."""
        return self._clock.now()

    async def sleep(self, duration: timedelta) -> None:
        """Wait; cancelled when the dispatcher drains."""
        await asyncio.sleep(duration.total_seconds())

    async def token(self) -> SecretStr:
        """Read the account's access token anew; remembers its version for a refresh after a 401."""
        self.last_token = await patiently(
            lambda: read_token(self._store.engine, self._vault, self._claim.account_id)
        )
        return self.last_token.access_token

    async def renew(self, engine: AsyncEngine, client: PlatformClient) -> None:
        """Refresh the token that was read last, over a connection of `engine`."""
        stale = self.last_token.version if self.last_token else ""
        await refresh_token(
            engine, self._vault, client, self._claim.account_id, stale_version=stale
        )

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[_Step]:
        """Write a step before it is taken and its outcome after; see platforms.port.Desk."""
        step = _Step(new_id())
        await self._write(self._begin_sql, **self._beginning(step, name))
        try:
            yield step
        except PlatformError as error:
            step.answered(error.code or step.code or "", error.request_id, message=error.reason)
            await self._end(step, error.outcome)
            raise
        await self._end(step, "ok")

    def _beginning(self, step: _Step, name: str) -> dict[str, Any]:
        return {
            "step_id": step.step_id,
            "name": name,
            "handle_id": self._handle_id,
            "policy_version": self._policy_version,
        }

    async def _end(self, step: _Step, outcome: str) -> None:
        await patiently(
            lambda: self._write(
                self._end_sql,
                step_id=step.step_id,
                outcome=outcome,
                code=step.code,
                request_id=step.request_id,
                detail=json.dumps(step.detail) if step.detail else None,
                handle_id=self._handle_id,
            )
        )

    async def _write(self, sql: str, **values: Any) -> None:
        """Write to the ledger through the fence."""
        await self._store.fenced(self._claim, sql, **values)

    async def open_handle(
        self,
        *,
        external_id: str | None = None,
        secret: Mapping[str, SecretStr] | None = None,
        progress: Mapping[str, Any] | None = None,
        expires_at: datetime | None = None,
    ) -> Handle:
        """Store a new active handle; an older active one is dropped (engine.md R2).

        Waits for the database: a handle that is forgotten costs one of the few a post may have (R1).
        """
        handle = Handle(
            id=new_id(),
            revision=self._claim.revision,
            external_id=external_id,
            secret=dict(secret or {}),
            progress=dict(progress or {}),
            expires_at=expires_at,
        )
        await patiently(lambda: self.retire_handle("dropped"))
        columns = self._columns(handle)
        await patiently(
            lambda: self._store.fenced(self._claim, handle_queries.OPEN_HANDLE, **columns)
        )
        self._handle_id = handle.id
        return handle

    async def save_handle(self, handle: Handle) -> Handle:
        """Store a handle's new facts."""
        columns = self._columns(handle)
        await patiently(
            lambda: self._store.fenced(self._claim, handle_queries.SAVE_HANDLE, **columns)
        )
        return handle

    async def retire_handle(self, state: str) -> None:
        """Mark the active handle `dropped` (never committed) or `dead` (terminal).

        A dropped one is noted for discarding in the same transaction (scheduling/discards.py).
        """
        await self._store.rows(
            handle_queries.DROP_ACTIVE_HANDLE,
            id=self._claim.publication_id,
            owner=self._store.owner,
            token=self._claim.lease_token,
            state=state,
        )
        self._handle_id = None

    async def handles(self) -> list[StoredHandle]:
        """Return every handle the publication ever had, oldest first, secrets opened."""
        rows = await self._store.rows(handle_queries.LOAD_HANDLES, id=self._claim.publication_id)
        found = []
        for row in rows:
            opened = json.loads(self._vault.open(row["sealed"])) if row["sealed"] else {}
            progress = dict(row["progress"])
            handle = Handle(
                id=row["id"],
                revision=row["revision"],
                external_id=row["external_id"],
                secret={name: SecretStr(value) for name, value in opened.items()},
                progress=progress,
                expires_at=from_db(row["expires_at"]) if row["expires_at"] else None,
                ready=bool(progress.pop("_ready", False)),
            )
            if row["state"] == "active":
                self._handle_id = handle.id
            found.append(StoredHandle(handle, row["state"], row["maybe_sent"]))
        return found

    def _columns(self, handle: Handle) -> dict[str, Any]:
        plain = {name: value.get_secret_value() for name, value in handle.secret.items()}
        return {
            "handle_id": handle.id,
            "external_id": handle.external_id,
            "sealed": self._vault.seal(json.dumps(plain)) if plain else None,
            "progress": json.dumps({**handle.progress, "_ready": handle.ready}),
            "expires_at": to_db(handle.expires_at) if handle.expires_at else None,
        }

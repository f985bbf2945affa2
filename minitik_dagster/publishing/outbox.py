"""The outbox's worker: takes away what was prepared for posts that will not go out that way.

A handle is dropped, and the note to discard it written, in one transaction (scheduling/discards.py);
every dispatcher carries such notes out beside its posts. Repeating is harmless: a video that is gone is
done. What the platform shows as public is never deleted from here.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

import structlog
from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from minitik_dagster.accounts.parting import read_parting, refresh_parting
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.types import Platform, from_db, to_db
from minitik_dagster.errors import PlatformError, RevokedError, ThrottledError, TransientError
from minitik_dagster.platforms.port import Handle, PlatformClient, Standing
from minitik_dagster.publishing import outbox_queries as queries
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.publishing.leaving import Leaver
from minitik_dagster.publishing.ledger import LedgerDesk
from minitik_dagster.publishing.policy import EnginePolicy
from minitik_dagster.publishing.removal import Remover
from minitik_dagster.publishing.store import Store
from minitik_dagster.publishing.work import Claim
from minitik_dagster.resilience.backoff import backoff_delay

_log = structlog.get_logger(__name__)
_AT_ONCE = 4
# From this many attempts on it is asked hourly.
_MANY, _HOURLY = 8, timedelta(hours=1)
# A private video does no harm: after so long a person may delete it.
_GIVE_UP = timedelta(days=3)
_NEVER_PUBLIC = frozenset({Standing.NOT_PUBLISHED, Standing.REJECTED, Standing.DEAD})


class UnleasedDesk(LedgerDesk):
    """A desk for calls beside a publication's own way; makes no handles."""

    _begin_sql = queries.BEGIN_STEP
    _end_sql = queries.END_STEP

    def of(self, handle: Handle) -> "UnleasedDesk":
        """Let the ledger's rows name this handle."""
        self._handle_id = handle.id
        return self

    async def _write(self, sql: str, **values: Any) -> None:
        await self._store.rows(sql, id=self._claim.publication_id, **values)


class UndoingDesk(UnleasedDesk):
    """A desk whose tokens are still there while the account is being disconnected."""

    async def token(self) -> SecretStr:
        """Read the account's access token, also that of a disconnected account."""
        self.last_token = await read_parting(
            self._store.engine, self._vault, self._claim.account_id
        )
        return self.last_token.access_token

    async def renew(self, engine: AsyncEngine, client: PlatformClient) -> None:
        """Refresh it, also that of a disconnected account."""
        stale = self.last_token.version if self.last_token else ""
        await refresh_parting(engine, self._vault, client, self._claim.account_id, stale)


@dataclass(frozen=True)
class Outbox:
    """One dispatcher's share in the outbox."""

    store: Store
    clock: DatabaseClock
    policy: EnginePolicy
    vault: Vault
    remover: Remover
    client: Callable[[Platform], PlatformClient]
    random: Random
    leaver: Leaver

    async def run(self) -> None:
        """Carry out what falls due, until cancelled; a database that is away is waited for."""
        while True:
            try:
                found = await self.work()
                await self.leaver.work()
            except DBAPIError as error:
                _log.warning("outbox.database_down", reason=type(error.orig).__name__)
                found = 0
            if found < _AT_ONCE:
                await asyncio.sleep(self.policy.poll.total_seconds())

    async def work(self) -> int:
        """Carry out a handful of due messages; return how many were claimed."""
        rows = await self.store.rows(
            queries.CLAIM_DISCARDS, limit=_AT_ONCE, busy_for=self.policy.lease * 2
        )
        await asyncio.gather(*(self._carry_out(row) for row in rows))
        return len(rows)

    async def _carry_out(self, message: Mapping[str, Any]) -> None:
        if not message["free"]:
            await self._done(message, "the handle is in use again")
            return
        try:
            note = await self._discard(message)
        except RevokedError as error:
            if await self.store.rows(queries.LEAVING, handle_id=message["handle_id"]):
                # Nobody will give this account's access back, and its disconnect waits for this.
                await self._done(message, f"given up: {error.reason}")
            else:
                await self._again(message, error)
        except PlatformError as error:
            await self._again(message, error)
        except DBAPIError:
            raise
        except Exception:
            # A defect of ours must not take the dispatcher down; the message falls due again.
            _log.exception("discard.defect", handle=message["handle_id"])
        else:
            await self._done(message, note)

    async def _discard(self, message: Mapping[str, Any]) -> str | None:
        """Delete what the handle holds, unless it is public; return a note where it was kept."""
        [row] = await self.store.rows(queries.SUBJECT, id=message["publication_id"])
        claim = Claim.from_row(row)
        client = self.client(claim.platform)
        desk = UndoingDesk(
            self.store,
            claim,
            vault=self.vault,
            clock=self.clock,
            policy_version=client.policy_version,
        )
        handle = next(
            item.handle for item in await desk.handles() if item.handle.id == message["handle_id"]
        )
        desk.of(handle)
        if handle.external_id is not None:
            finding = await self.remover.renewing(
                claim, desk, client, lambda: client.find(claim.post, handle, desk)
            )
            if finding.standing is Standing.CANNOT_TELL:
                raise TransientError("the platform cannot say whether it is public")
            if finding.standing not in _NEVER_PUBLIC:
                _log.error(
                    "discard.kept",
                    publication=claim.publication_id,
                    platform=claim.platform.value.lower(),
                    standing=finding.standing.value,
                )
                return f"kept: the platform calls it {finding.standing.value}"
        await self.remover.delete(claim, handle, None, desk, client)
        _log.info(
            "discard.done",
            publication=claim.publication_id,
            platform=claim.platform.value.lower(),
        )
        return None

    async def _again(self, message: Mapping[str, Any], error: PlatformError) -> None:
        now = self.clock.now()
        if now - from_db(message["created_at"]) > _GIVE_UP:
            _log.error("discard.given_up", handle=message["handle_id"], reason=error.reason)
            await self._done(message, f"given up: {error.reason}")
            return
        _log.info("discard.again", handle=message["handle_id"], code=error.code)
        await self.store.rows(
            queries.AGAIN,
            message_id=message["id"],
            at=to_db(now + self._wait(message, error, now)),
            note=error.reason,
        )

    def _wait(self, message: Mapping[str, Any], error: PlatformError, now: datetime) -> timedelta:
        wait = backoff_delay(message["attempts"], self.random)
        if message["attempts"] >= _MANY:
            wait = _HOURLY
        if isinstance(error, ThrottledError | TransientError) and error.retry_after:
            wait = max(wait, error.retry_after)
        if isinstance(error, ThrottledError) and error.until:
            wait = max(wait, error.until - now)
        return wait

    async def _done(self, message: Mapping[str, Any], note: str | None) -> None:
        await self.store.rows(queries.DONE, message_id=message["id"], note=note)

"""The outbox's part in a disconnect: after the undoing, withdraw at the platform, empty the tokens.

Each note is one account. Its steps are in order and each may be repeated: a crash makes the note due
again, what is undone stays undone, and a platform that no longer knows the token is done.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any, Final

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from minitik_dagster.accounts.parting import Parted, part
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.types import Platform, from_db, to_db
from minitik_dagster.errors import MinitikError, ThrottledError, TransientError
from minitik_dagster.ids import new_id
from minitik_dagster.platforms.port import PlatformClient
from minitik_dagster.publishing import leaving_queries as queries
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.publishing.outbox_queries import AGAIN, DONE
from minitik_dagster.publishing.review_queries import AUDIT
from minitik_dagster.publishing.store import Store
from minitik_dagster.resilience.backoff import backoff_delay

_log = structlog.get_logger(__name__)
_AT_ONCE: Final = 4
# Longer than part() may take: four platform calls, each bounded, and the wait for the row lock.
_BUSY_FOR: Final = timedelta(seconds=120)
_UNDOING_WAIT: Final = timedelta(seconds=2)
# A secret that is no longer needed is not kept longer than this, whatever the platform says.
GIVE_UP: Final = timedelta(hours=24)


@dataclass(frozen=True)
class Leaver:
    """One dispatcher's share in disconnects; `engine` lends the connection that holds the row lock."""

    store: Store
    engine: AsyncEngine
    clock: DatabaseClock
    vault: Vault
    client: Callable[[Platform], PlatformClient]
    random: Random

    async def work(self) -> int:
        """Carry out a handful of due notes; return how many were claimed."""
        rows = await self.store.rows(queries.CLAIM_LEAVES, limit=_AT_ONCE, busy_for=_BUSY_FOR)
        await asyncio.gather(*(self._carry_out(row) for row in rows))
        return len(rows)

    async def _carry_out(self, note: Mapping[str, Any]) -> None:
        if note["platform"] is None:
            await self.store.rows(DONE, message_id=note["id"], note="the account is gone")
            return
        overdue = self.clock.now() - from_db(note["created_at"]) > GIVE_UP
        if note["undoing"] and not overdue:
            await self._again(note, _UNDOING_WAIT, "what was prepared is being undone")
            return
        try:
            await self._part(
                note, "given up after a day: it was not withdrawn" if overdue else None
            )
        except DBAPIError:
            raise
        except MinitikError as error:
            await self._again(note, self._wait(note, error), str(error))
        except Exception:
            # A defect of ours must not take the dispatcher down; the note falls due again.
            _log.exception("disconnect.defect", account=note["account_id"])

    async def _part(self, note: Mapping[str, Any], give_up: str | None) -> None:
        client = self.client(Platform(note["platform"]))
        async with self.engine.connect() as connection:
            done = await part(
                connection,
                self.vault,
                client,
                note["account_id"],
                from_db(note["disconnected_at"]),
                give_up=give_up,
            )
            await connection.execute(text(AUDIT), _audit(note, done))
            await connection.execute(text(DONE), {"message_id": note["id"], "note": done.outcome})
            await connection.commit()
        log = _log.warning if give_up else _log.info
        log(
            "disconnect.done",
            account=note["account_id"],
            platform=note["platform"].lower(),
            emptied=done.emptied,
            outcome=done.outcome,
        )

    async def _again(self, note: Mapping[str, Any], wait: timedelta, why: str) -> None:
        _log.info("disconnect.again", account=note["account_id"], reason=why)
        at = to_db(self.clock.now() + wait)
        await self.store.rows(AGAIN, message_id=note["id"], at=at, note=why)

    def _wait(self, note: Mapping[str, Any], error: MinitikError) -> timedelta:
        wait = backoff_delay(note["attempts"], self.random)
        if isinstance(error, ThrottledError | TransientError) and error.retry_after:
            wait = max(wait, error.retry_after)
        return wait


def _audit(note: Mapping[str, Any], done: Parted) -> dict[str, Any]:
    return {
        "row_id": new_id(),
        "actor": "dispatcher",
        "action": "account.disconnected" if done.emptied else "account.disconnect_void",
        "id": note["account_id"],
        "detail": json.dumps({"outcome": done.outcome, "attempts": note["attempts"]}),
    }

"""A resident dispatcher's work in windows of 15 minutes, so that Dagster can show it like a run's.

The window's summary goes into the outbox; the sensor `resident_windows` shows it as a materialization
of `publications`. Figures are noted each minute: a killed dispatcher's last window is shown as well.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from minitik_dagster.clock import iso_z
from minitik_dagster.ids import new_id
from minitik_dagster.publishing import window_queries
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.publishing.store import Store
from minitik_dagster.publishing.tally import Tally

WINDOW = timedelta(minutes=15)
NOTE_EVERY = timedelta(minutes=1)
# Longer than any lease that is allowed (10 minutes): a dispatcher so silent is dead.
SILENT_FOR = timedelta(minutes=15)


@dataclass(frozen=True)
class Window:
    """A window that Dagster has not shown yet; `summary` is Tally.summary's."""

    id: str
    dispatcher: str
    started_at: str
    ended_at: str
    killed: bool
    summary: Mapping[str, Any]


@dataclass
class WindowReports:
    """Closes a dispatcher's windows; the tally begins anew with each."""

    store: Store
    clock: DatabaseClock
    tally: Tally
    window: timedelta = WINDOW
    note_every: timedelta = NOTE_EVERY
    _since: datetime | None = None

    async def run(self) -> None:
        """Note the figures each minute and close a window each quarter of an hour, until cancelled."""
        self._since = self.clock.now()
        while True:
            await asyncio.sleep(self.note_every.total_seconds())
            with contextlib.suppress(DBAPIError):
                if self.clock.now() - self._since >= self.window:
                    await self.close()
                else:
                    await self._note()

    async def close(self) -> None:
        """Write the window down, and begin another."""
        ended = self.clock.now()
        summary = self.tally.summary()
        payload = {
            "dispatcher": self.store.owner,
            "startedAt": iso_z(self._since or ended),
            "endedAt": iso_z(ended),
            "killed": False,
            "summary": summary,
        }
        await self.store.rows(
            window_queries.CLOSE_WINDOW, row_id=new_id(), payload=json.dumps(payload)
        )
        self.tally.begin_anew()
        self._since = ended

    async def _note(self) -> None:
        noted = self.tally.summary() | {"windowStartedAt": iso_z(self._since or self.clock.now())}
        await self.store.rows(
            window_queries.NOTE_SUMMARY, owner=self.store.owner, summary=json.dumps(noted)
        )


def unshown(connection: Connection, *, shown: Sequence[str], limit: int) -> list[Window]:
    """Mark `shown` windows as shown; return the oldest ones that are not, killed ones included."""
    connection.execute(text(window_queries.MARK_SHOWN), {"shown": list(shown)})
    connection.execute(text(window_queries.CLOSE_FOR_THE_DEAD), {"silence": SILENT_FOR})
    rows = connection.execute(
        text(window_queries.UNSHOWN_WINDOWS), {"shown": list(shown), "limit": limit}
    ).mappings()
    return [
        Window(
            id=row["id"],
            dispatcher=row["payload"]["dispatcher"],
            started_at=row["payload"]["startedAt"],
            ended_at=row["payload"]["endedAt"],
            killed=row["payload"]["killed"],
            summary=row["payload"]["summary"],
        )
        for row in rows
    ]

"""The dispatcher's own copy of the pauses, at most a second old: the commit path asks nobody (R9).

The last word has the database: OPEN_COMMITS tests the flags again in SQL.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from sqlalchemy.exc import DBAPIError

from minitik_dagster.errors import MinitikError
from minitik_dagster.publishing import pause_queries
from minitik_dagster.publishing.store import Store
from minitik_dagster.publishing.work import Claim

_log = structlog.get_logger(__name__)
_LOOK_EVERY_SECONDS = 0.5
_SHELF_LIMIT = 1_000


class PausedError(MinitikError):
    """A pause covers the post: it is put down with its handle, and waits."""


@dataclass
class PauseWatch:
    """Looks at the flags twice a second and shelves what becomes due under one."""

    store: Store
    _flags: Mapping[str, str] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def reason(self, claim: Claim) -> str | None:
        """Say why the post waits, by the flags at the last look; None when it may go."""
        for key in (
            "pause:all",
            f"pause:platform:{claim.platform.value.lower()}",
            f"pause:account:{claim.account_id}",
        ):
            if key in self._flags:
                return self._flags[key]
        return None

    async def news(self, longest: timedelta) -> None:
        """Return when a flag was raised or lowered, or after `longest`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest.total_seconds()):
                await self._news.wait()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            with contextlib.suppress(DBAPIError):
                await self.look()
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def look(self) -> None:
        """Read the flags; shelve what is due under one."""
        rows = await self.store.rows(pause_queries.FLAGS)
        flags = {row["key"]: row["value"].get("text") or "paused" for row in rows}
        if flags != self._flags:
            _log.warning("queue.pauses", paused=sorted(flags))
            self._flags = flags
            # Each waiter of the old event wakes once; later ones wait for the next change.
            self._news.set()
            self._news = asyncio.Event()
        if flags:
            shelved = await self.store.rows(pause_queries.SHELVE, limit=_SHELF_LIMIT)
            if shelved:
                _log.info("queue.shelved", posts=len(shelved))

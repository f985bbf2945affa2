"""The dispatcher's own copy of the breakers, at most a second old: the commit path asks nobody (R9).

An open breaker parks posts, with the handles they have; when it closes they go in the order they were
due, spaced.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from sqlalchemy.exc import DBAPIError

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import MinitikError
from minitik_dagster.publishing import queries
from minitik_dagster.publishing.store import Store
from minitik_dagster.resilience.breaker import Breaker

_log = structlog.get_logger(__name__)
_LOOK_EVERY_SECONDS = 0.5
SPACING = timedelta(milliseconds=200)


class BreakerOpenError(MinitikError):
    """The platform's breaker opened before the commit: the post is parked with its handle."""


@dataclass
class BreakerWatch:
    """Looks at every platform's breaker twice a second."""

    store: Store
    breaker: Breaker
    _open: set[Platform] = field(default_factory=set)

    def is_open(self, platform: Platform) -> bool:
        """Whether the breaker was open at the last look."""
        return platform in self._open

    async def run(self) -> None:
        """Look until cancelled; let parked posts go when a breaker has closed."""
        while True:
            for platform in Platform:
                with contextlib.suppress(DBAPIError):
                    await self._look(platform)
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def _look(self, platform: Platform) -> None:
        if await self.breaker.is_open(platform):
            if platform not in self._open:
                self._open.add(platform)
                _log.warning(
                    "breaker.open", platform=platform.value.lower(), **await self._cost(platform)
                )
        elif platform in self._open:
            cost = await self._cost(platform)
            await self.store.rows(queries.UNPARK, platform=platform.value, spacing=SPACING)
            self._open.discard(platform)
            _log.warning("breaker.closed", platform=platform.value.lower(), **cost)

    async def _cost(self, platform: Platform) -> dict[str, int]:
        """Return what the breaker costs now: `posts` that wait, of how many `creators`."""
        rows = await self.store.rows(queries.PARKED_COST, platform=platform.value)
        return {"posts": rows[0]["posts"], "creators": rows[0]["creators"]}

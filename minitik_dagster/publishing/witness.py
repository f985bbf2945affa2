"""What this dispatcher has seen the database take: a server that does not know it has forgotten.

The epoch tells of what was lost over a minute. A replica that is promoted in its primary's place has
usually lost less: the last second's transactions, acknowledged and gone. Nothing in the database tells of
them, but whoever sent a post knows the step it wrote before. Steps are never deleted.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, text

from minitik_dagster.publishing import epoch_queries as queries

# Longer than a failover takes and than the mirror's epoch may lag: what is older is the epoch's matter.
_KEPT_FOR: Final = timedelta(minutes=15)


class Witness:
    """Remembers the commit steps whose transaction was acknowledged, for a quarter of an hour."""

    def __init__(self) -> None:
        self._seen: dict[str, datetime] = {}

    def saw(self, step_id: str, started_at: datetime) -> None:
        """Remember a step and when the database opened it."""
        self._seen[step_id] = started_at
        while started_at - next(iter(self._seen.values())) > _KEPT_FOR:
            del self._seen[next(iter(self._seen))]

    def missed(self, connection: Connection) -> dict[str, datetime]:
        """Return the steps that are not there any more, with when they were opened."""
        asked = dict(self._seen)
        if not asked:
            return {}
        there = connection.execute(text(queries.STEPS_THERE), {"ids": list(asked)}).scalars()
        for step_id in there:
            del asked[step_id]
        return asked

    def settled(self, steps: Iterable[str]) -> None:
        """What was missed is dealt with: it is not told again."""
        for step_id in steps:
            self._seen.pop(step_id, None)

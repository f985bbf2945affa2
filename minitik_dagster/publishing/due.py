"""The sensor's question to PostgreSQL, and its answer: how many dispatchers to ask for."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from minitik_dagster.db.types import from_db
from minitik_dagster.publishing import queries

# A run takes some 8-12 s to its first line (architecture.md section 2): ask that much ahead.
LOOK_AHEAD = timedelta(seconds=25)
# One dispatcher carries this many publications at a time without being late.
PER_SHARD = 1500
_COUNT_LIMIT = 20_000


@dataclass(frozen=True)
class Waiting:
    """Publications whose wake is reached (or nearly) and that no live dispatcher will take."""

    count: int
    first_wake: datetime | None
    first_due: datetime | None

    def shards(self, most: int) -> int:
        """Return how many dispatchers to start, at most `most`."""
        return min(most, -(-self.count // PER_SHARD))


def waiting(connection: Connection, *, lease: timedelta) -> Waiting:
    """Ask what is waiting; a dispatcher silent for longer than a lease does not count as alive."""
    row = (
        connection.execute(
            text(queries.WAITING),
            {"ahead": LOOK_AHEAD, "silence": lease, "limit": _COUNT_LIMIT},
        )
        .mappings()
        .one()
    )
    return Waiting(
        count=row["waiting"],
        first_wake=from_db(row["first_wake"]) if row["first_wake"] else None,
        first_due=from_db(row["first_due"]) if row["first_due"] else None,
    )

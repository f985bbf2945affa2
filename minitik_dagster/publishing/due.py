"""The sensor's question to PostgreSQL, and its answer: how many dispatchers to ask for."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from minitik_dagster.db.types import from_db, to_db
from minitik_dagster.publishing import outbox_queries, queries

# A run takes some 8-12 s to its first line (architecture.md section 2): ask that much ahead.
LOOK_AHEAD = timedelta(seconds=25)
# One dispatcher carries this many publications at a time without being late.
PER_SHARD = 1500
_COUNT_LIMIT = 20_000
# A discard is no hurry: so long it waits for a dispatcher that comes for a post.
DISCARD_PATIENCE = timedelta(seconds=60)


@dataclass(frozen=True)
class Waiting:
    """Publications whose wake is reached (or nearly) and that no live dispatcher will take.

    `discards`: notes of the outbox (what was prepared is to be undone, a disconnected account is to be
    left) that have waited for a dispatcher for a minute.
    """

    count: int
    first_wake: datetime | None
    first_due: datetime | None
    discards: int = 0

    def shards(self, most: int) -> int:
        """Return how many dispatchers to start, at most `most`; one will do for discards alone."""
        needed = -(-self.count // PER_SHARD)
        return min(most, max(needed, 1 if self.discards else 0))


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
    discards = connection.execute(
        text(outbox_queries.DISCARDS_WAITING),
        {"patience": DISCARD_PATIENCE, "silence": lease, "limit": _COUNT_LIMIT},
    ).scalar_one()
    return Waiting(
        discards=discards,
        count=row["waiting"],
        first_wake=from_db(row["first_wake"]) if row["first_wake"] else None,
        first_due=from_db(row["first_due"]) if row["first_due"] else None,
    )


def came_and_went(connection: Connection, asked_at: datetime) -> bool:
    """Whether a Dagster run's dispatcher has begun since `asked_at` and has ended already."""
    found = connection.execute(text(queries.CAME_AND_WENT), {"asked_at": to_db(asked_at)})
    return bool(found.scalar_one())

"""The queues in numbers, in the shape that operators know, read from the rows themselves.

publish        publications: delayed = due in the future, waiting = overdue and unclaimed, active =
               leased, paused = paused, held or parked, completed = live, failed = failed for good
token-refresh  accounts: active = being renewed, waiting = connected and ending within 30 minutes,
               delayed = connected and ending later, failed = EXPIRED or ERROR
dead-letter    waiting = open, completed = resolved
analytics      has no rows to wait in yet
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.db.types import from_db

_NOW: Final = "(statement_timestamp() AT TIME ZONE 'UTC')"
_NAMES: Final = ("active", "waiting", "delayed", "completed", "failed", "paused")


@dataclass(frozen=True)
class Counts:
    """How many stand where."""

    active: int = 0
    waiting: int = 0
    delayed: int = 0
    completed: int = 0
    failed: int = 0
    paused: int = 0


@dataclass(frozen=True)
class Throughput:
    """The last minute; the average time is from the commit's first byte to its answer, in ms."""

    completed_last_minute: int = 0
    failed_last_minute: int = 0
    avg_processing_time_ms: int | None = None


@dataclass(frozen=True)
class Queue:
    """One queue's numbers."""

    name: str
    counts: Counts
    throughput: Throughput


@dataclass(frozen=True)
class QueueMetrics:
    """All queues at one instant of PostgreSQL's clock."""

    queues: tuple[Queue, ...]
    collected_at: datetime

    @property
    def totals(self) -> Counts:
        """The sums over all queues."""
        each: list[dict[str, Any]] = [asdict(queue.counts) for queue in self.queues]
        return Counts(**{name: sum(item[name] for item in each) for name in _NAMES})


_PUBLISH: Final = text(
    f"""
    WITH rows AS (
        SELECT stage, "dueAt", COALESCE("leaseExpiresAt" > {_NOW}, false) AS leased
        FROM publications WHERE stage IS NOT NULL
    )
    SELECT count(*) FILTER (WHERE leased) AS active,
        count(*) FILTER (WHERE NOT leased AND stage IN
            ('scheduled','preparing','prepared','committing','confirming','unknown','review')
            AND "dueAt" <= {_NOW}) AS waiting,
        count(*) FILTER (WHERE NOT leased AND stage IN
            ('scheduled','preparing','prepared') AND "dueAt" > {_NOW}) AS delayed,
        count(*) FILTER (WHERE NOT leased AND stage IN ('live','removed')) AS completed,
        count(*) FILTER (WHERE NOT leased AND stage = 'failed') AS failed,
        count(*) FILTER (WHERE NOT leased AND stage IN ('held','parked','paused')) AS paused
    FROM rows
    """  # noqa: S608 - built from constants of this file only
)
_PUBLISH_LAST_MINUTE: Final = text(
    f"""
    SELECT count(*) FILTER (WHERE "acceptedAt" >= {_NOW} - interval '1 minute') AS completed,
        CAST(avg(extract(epoch FROM "acceptedAt" - "committedAt") * 1000) AS integer) AS average,
        (SELECT count(*) FROM dead_letters
            WHERE "createdAt" >= {_NOW} - interval '1 minute') AS failed
    FROM publications
    WHERE "committedAt" >= {_NOW} - interval '2 minutes' AND "acceptedAt" IS NOT NULL
    """  # noqa: S608 - built from constants of this file only
)
_TOKENS: Final = text(
    f"""
    SELECT count(*) FILTER (WHERE busy) AS active,
        count(*) FILTER (WHERE NOT busy AND status = 'CONNECTED'
            AND "tokenExpiresAt" <= {_NOW} + interval '30 minutes') AS waiting,
        count(*) FILTER (WHERE NOT busy AND status = 'CONNECTED'
            AND "tokenExpiresAt" > {_NOW} + interval '30 minutes') AS delayed,
        count(*) FILTER (WHERE status IN ('EXPIRED','ERROR')) AS failed
    FROM (SELECT *, status = 'CONNECTED'
            AND COALESCE("refreshStartedAt" > {_NOW} - interval '1 minute', false) AS busy
        FROM accounts) a
    """  # noqa: S608 - built from constants of this file only
)
_TOKENS_LAST_MINUTE: Final = text(
    f"""
    SELECT count(*) FILTER (WHERE "refreshedAt" >= {_NOW} - interval '1 minute') AS completed,
        count(*) FILTER (WHERE "refreshFailedAt" >= {_NOW} - interval '1 minute') AS failed
    FROM accounts
    """  # noqa: S608 - built from constants of this file only
)
_DEAD_LETTERS: Final = text(
    """
    SELECT count(*) FILTER (WHERE "resolvedAt" IS NULL) AS waiting,
        count(*) FILTER (WHERE "resolvedAt" IS NOT NULL) AS completed
    FROM dead_letters
    """
)


def queue_metrics(session: Session) -> QueueMetrics:
    """Count everything now."""
    collected_at = from_db(session.execute(text(f"SELECT {_NOW}")).scalar_one())
    publish = session.execute(_PUBLISH).mappings().one()
    minute = session.execute(_PUBLISH_LAST_MINUTE).mappings().one()
    tokens = session.execute(_TOKENS).mappings().one()
    renewed = session.execute(_TOKENS_LAST_MINUTE).mappings().one()
    letters = session.execute(_DEAD_LETTERS).mappings().one()
    throughput = Throughput(minute["completed"], minute["failed"], minute["average"])
    return QueueMetrics(
        (
            Queue("publish", Counts(**publish), throughput),
            Queue("analytics", Counts(), Throughput()),
            Queue(
                "token-refresh",
                Counts(**tokens),
                Throughput(renewed["completed"], renewed["failed"]),
            ),
            Queue("dead-letter", Counts(**letters), Throughput()),
        ),
        collected_at,
    )

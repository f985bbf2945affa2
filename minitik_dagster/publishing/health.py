"""Questions about the engine's health, each one SQL statement over our own tables.

Asked by the asset checks, by the alarm of the API process and by operators; none needs Dagster, a
dispatcher or a platform. Answers name up to 20 ids, the oldest first, never people.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from minitik_dagster.db.found import Found
from minitik_dagster.db.types import from_db
from minitik_dagster.publishing import health_queries

UNTAKEN_AFTER = timedelta(seconds=60)
SILENT_AFTER = timedelta(seconds=60)
OVERDUE_AFTER = timedelta(minutes=5)
UNKNOWN_AFTER = timedelta(hours=1)
LEASE_OVER_FOR = timedelta(minutes=5)
PREPARING_FOR = timedelta(hours=2)


@dataclass(frozen=True)
class Untaken(Found):
    """What nobody takes: `late` of them should be public already; `oldest` has waited since then."""

    late: int
    oldest: datetime | None


def untaken(connection: Connection, allowed: timedelta = UNTAKEN_AFTER) -> Untaken:
    """Return what has waited for a dispatcher for longer than `allowed`; paused posts do not count."""
    row = _ask(connection, health_queries.UNTAKEN, allowed=allowed)
    oldest = from_db(row["oldest"]) if row["oldest"] else None
    return Untaken(row["total"], tuple(row["ids"] or ()), row["late"], oldest)


def resident_beats(connection: Connection, host: str, allowed: timedelta = SILENT_AFTER) -> bool:
    """Whether a resident dispatcher of that host has sent a heartbeat within `allowed`."""
    asked = text(health_queries.RESIDENT_BEATS)
    return bool(connection.execute(asked, {"host": host, "allowed": allowed}).scalar_one())


def overdue(connection: Connection, allowed: timedelta = OVERDUE_AFTER) -> Found:
    """Return what was due longer ago than `allowed` and has neither been sent nor been put off."""
    return _found(_ask(connection, health_queries.OVERDUE, allowed=allowed))


def double_posts(connection: Connection) -> Found:
    """Return publications of which our own tables know more than one success."""
    return _found(_ask(connection, health_queries.DOUBLE_POSTS))


def unknown_long(connection: Connection, allowed: timedelta = UNKNOWN_AFTER) -> Found:
    """Return commits whose outcome has been unknown for longer than `allowed`."""
    return _found(_ask(connection, health_queries.UNKNOWN_LONG, allowed=allowed))


def stuck(
    connection: Connection,
    lease_over: timedelta = LEASE_OVER_FOR,
    preparing: timedelta = PREPARING_FOR,
) -> Found:
    """Return rows whose lease ended long ago untaken, and preparations that do not end."""
    return _found(_ask(connection, health_queries.STUCK, lease=lease_over, preparing=preparing))


def _ask(connection: Connection, statement: str, **values: timedelta) -> dict[str, Any]:
    return dict(connection.execute(text(statement), values).mappings().one())


def _found(row: dict[str, Any]) -> Found:
    return Found(row["total"], tuple(row["ids"] or ()))

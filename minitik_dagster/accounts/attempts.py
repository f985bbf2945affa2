"""Attempts to sign in and to connect, counted in PostgreSQL: this limit does not open without Redis."""

from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.errors import TooManyAttemptsError

# Windows begin at multiples of their length, for everybody at the same instants: one row each.
_USE: Final = text(
    """
    INSERT INTO attempts AS a (kind, client, "windowStart", used)
    VALUES (:kind, :client, date_bin(CAST(:window AS interval),
        statement_timestamp() AT TIME ZONE 'UTC', TIMESTAMP '2000-01-01'), 1)
    ON CONFLICT (kind, client, "windowStart") DO UPDATE SET used = a.used + 1
        WHERE a.used < :limit
    RETURNING used
    """
)
_LEFT: Final = text(
    """
    SELECT date_bin(CAST(:window AS interval), n.now, TIMESTAMP '2000-01-01')
        + CAST(:window AS interval) - n.now
    FROM (SELECT statement_timestamp() AT TIME ZONE 'UTC' AS now) n
    """
)
_FORGET: Final = text(
    """
    DELETE FROM attempts WHERE kind = :kind AND client = :client AND "windowStart"
        < statement_timestamp() AT TIME ZONE 'UTC' - 2 * CAST(:window AS interval)
    """
)
_FORGET_OLD: Final = text(
    """
    DELETE FROM attempts
    WHERE "windowStart" < (statement_timestamp() AT TIME ZONE 'UTC') - interval '1 day'
    RETURNING 1
    """
)


def use_attempt(session: Session, kind: str, client: str, *, limit: int, window: timedelta) -> None:
    """Count one attempt of `client`; TooManyAttemptsError when `limit` within `window` are used up.

    It is counted when the caller's transaction commits: give it one of its own where what follows
    may fail. The client's earlier windows are forgotten.
    """
    values = {"kind": kind, "client": client, "limit": limit, "window": window}
    used = session.execute(_USE, values).scalar_one_or_none()
    if used is None:
        left: timedelta = session.execute(_LEFT, {"window": window}).scalar_one()
        seconds = int(window.total_seconds())
        raise TooManyAttemptsError(
            f"{limit} attempts within {seconds} s are used up; wait and try again", retry_after=left
        )
    if used == 1:
        session.execute(_FORGET, values)


def forget_attempts(session: Session) -> int:
    """Delete what was counted more than a day ago, whoever counted. Return how many."""
    return len(session.execute(_FORGET_OLD).all())

"""Attempt limits, counted in PostgreSQL: unlike the platforms' limits they do not open without Redis."""

from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.errors import TooManyAttemptsError

# Windows are the same for everybody: they begin at multiples of their length.
_USE: Final = text(
    """
    INSERT INTO attempts AS a (kind, client, "windowStart", used)
    VALUES (:kind, :client,
        date_bin(:window, statement_timestamp() AT TIME ZONE 'UTC', TIMESTAMP '2000-01-01'), 1)
    ON CONFLICT (kind, client, "windowStart") DO UPDATE SET used = a.used + 1
        WHERE a.used < :limit
    RETURNING used
    """
)
_LEFT: Final = text(
    """
    SELECT date_bin(:window, statement_timestamp() AT TIME ZONE 'UTC', TIMESTAMP '2000-01-01')
        + :window - (statement_timestamp() AT TIME ZONE 'UTC')
    """
)
_FORGET: Final = text(
    """
    DELETE FROM attempts
    WHERE "windowStart" < (statement_timestamp() AT TIME ZONE 'UTC') - interval '1 day'
    """
)


def use_attempt(session: Session, kind: str, client: str, *, limit: int, window: timedelta) -> None:
    """Count one attempt of `client`; raise TooManyAttemptsError when `limit` in `window` are used.

    An attempt counts once the caller's transaction commits: give it one of its own where what comes
    after it may fail.
    """
    values = {"kind": kind, "client": client, "limit": limit, "window": window}
    if session.execute(_USE, values).first() is None:
        left: timedelta = session.execute(_LEFT, {"window": window}).scalar_one()
        raise TooManyAttemptsError(
            f"more than {limit} attempts within {window}; wait {max(1, round(left.total_seconds()))} s",
            retry_after=left,
        )


def forget_attempts(session: Session) -> None:
    """Delete what was counted more than a day ago."""
    session.execute(_FORGET)

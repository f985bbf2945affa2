"""What becomes of an outbox message: it is done, tried again, or held until quiet hours end."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, text

from minitik_dagster.clock import iso_z
from minitik_dagster.db.types import to_db
from minitik_dagster.notifications.event_queries import NOW

# How long a row of `outbox o` has been trying to leave: what was held begins at the end of that.
AGE: Final = (
    f"{NOW} - GREATEST(o.\"createdAt\", CAST(rtrim(o.payload ->> 'heldUntil', 'Z') AS timestamp))"
)

# What a message held of a person (address, sealed link) is taken from its row once it is done.
_DONE: Final = text(
    f"""
    UPDATE outbox SET "doneAt" = {NOW}, error = :note, payload = payload - 'token' - 'email'
    WHERE id = :id
    """  # noqa: S608 - a constant
)
_AGAIN: Final = text(
    f"""
    UPDATE outbox SET error = :note, "dueAt" = {NOW} + CAST(:wait AS interval) WHERE id = :id
    """  # noqa: S608 - a constant
)
_HOLD: Final = text(
    """
    UPDATE outbox SET error = NULL, "dueAt" = :at, attempts = 0,
        payload = payload || jsonb_build_object('heldUntil', CAST(:until AS text))
    WHERE id = :id
    """
)


def done(connection: Connection, row_id: str, note: str | None) -> None:
    """Close a row; `note` says why nothing was sent."""
    connection.execute(_DONE, {"id": row_id, "note": note})


def again(connection: Connection, row_id: str, wait: timedelta, note: str) -> None:
    """Let a row fall due again after `wait`."""
    connection.execute(_AGAIN, {"id": row_id, "wait": wait, "note": note})


def hold(connection: Connection, row_id: str, until: datetime) -> None:
    """Let a row fall due at an instant, with all of its attempts before it."""
    connection.execute(_HOLD, {"id": row_id, "at": to_db(until), "until": iso_z(until)})

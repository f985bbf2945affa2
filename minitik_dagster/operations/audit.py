"""Who did what: the audit log as operators read it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, text

from minitik_dagster.db.types import from_db

_LIST: Final = text(
    """
    SELECT at, actor, action, subject, detail FROM audit_log
    WHERE (CAST(:action AS text) IS NULL OR action = :action OR starts_with(action, :action || '.'))
      AND (CAST(:subject AS text) IS NULL OR subject = :subject)
    ORDER BY at DESC, id DESC LIMIT :limit
    """
)


@dataclass(frozen=True)
class Entry:
    """One act; `subject` is the id or scope it was done to."""

    at: datetime
    actor: str
    action: str
    subject: str
    detail: Any


def list_entries(
    connection: Connection,
    *,
    action: str | None = None,
    subject: str | None = None,
    limit: int = 50,
) -> list[Entry]:
    """Return the newest entries first; `action` names one act (`queue.drain`) or a kind (`queue`)."""
    values = {"action": action, "subject": subject, "limit": limit}
    return [
        Entry(**{**row, "at": from_db(row["at"])})
        for row in connection.execute(_LIST, values).mappings()
    ]

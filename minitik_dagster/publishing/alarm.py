"""The alarm that needs neither Dagster nor a dispatcher: something due is not being taken.

Whoever has a connection may look: the API process does so every 15 s. The row in `alerts` is the
alarm; notices and pages read it.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import structlog
from sqlalchemy import Connection, text

from minitik_dagster.clock import iso_z
from minitik_dagster.db.types import from_db
from minitik_dagster.ids import new_id
from minitik_dagster.publishing import alarm_queries, health

_log = structlog.get_logger(__name__)
OVERDUE_KEY = "publish.overdue"
# Any constant will do; looks at the same time are one look.
_LOCK_KEY = 7_203_114_560


class Change(StrEnum):
    """What a look changed."""

    NONE = "none"
    RAISED = "raised"
    RESOLVED = "resolved"
    NOT_LEADING = "not_leading"


@dataclass(frozen=True)
class AlertView:
    """An alert as operators read it."""

    key: str
    level: str
    message: str
    opened_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None


def look(connection: Connection) -> Change:
    """Raise or resolve `publish.overdue` in the caller's transaction; one line is logged on change.

    Warning: something waits for a dispatcher for more than a minute. Critical: some of it should be
    public already. Another process that looks at the same time is left to it.
    """
    if not connection.execute(text(alarm_queries.LEAD), {"key": _LOCK_KEY}).scalar_one():
        return Change.NOT_LEADING
    found = health.untaken(connection)
    key = {"key": OVERDUE_KEY}
    if not found:
        if connection.execute(text(alarm_queries.RESOLVE_ALERT), key).first() is None:
            return Change.NONE
        _log.warning("alert.resolved", **key)
        return Change.RESOLVED
    before = connection.execute(text(alarm_queries.OPEN_ALERT), key).mappings().one_or_none()
    level = "critical" if found.late else "warning"
    connection.execute(
        text(alarm_queries.RAISE_ALERT),
        {
            **key,
            "row_id": new_id(),
            "level": level,
            "message": _message(found),
            "detail": json.dumps(
                {
                    "waiting": found.total,
                    "late": found.late,
                    "oldest": iso_z(found.oldest) if found.oldest else None,
                    "publications": list(found.ids),
                }
            ),
        },
    )
    if before is not None and before["level"] == level:
        return Change.NONE
    _log.error("alert.raised", **key, level=level, waiting=found.total, late=found.late)
    return Change.RAISED


def list_alerts(
    connection: Connection, *, everything: bool = False, limit: int = 100
) -> list[AlertView]:
    """Return open alerts, the newest first; with `everything` the resolved ones as well."""
    rows = connection.execute(
        text(alarm_queries.LIST_ALERTS), {"everything": everything, "limit": limit}
    ).mappings()
    return [
        AlertView(
            key=row["key"],
            level=row["level"],
            message=row["message"],
            opened_at=from_db(row["opened_at"]),
            last_seen_at=from_db(row["last_seen_at"]),
            resolved_at=from_db(row["resolved_at"]) if row["resolved_at"] else None,
        )
        for row in rows
    ]


def _message(found: health.Untaken) -> str:
    late = f", {found.late} of them late already" if found.late else ""
    return (
        f"{found.total} posts wait for a dispatcher and none takes them{late}; "
        "start one: minitik dispatcher, or look at Dagster's daemon"
    )

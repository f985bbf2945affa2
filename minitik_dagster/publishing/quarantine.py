"""A database that is behind what it once was: what fell due meanwhile is asked about, never simply sent.

A restored backup, or a replica that was promoted before it had everything, has forgotten steps of the
ledger: a post that is public reads as one that waits. So what fell due in the forgotten span goes to
review, with every handle it had marked as maybe committed; the platforms are asked; what one calls live
is live, and for the rest a person decides. What is due afterwards goes on by itself.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, text

from minitik_dagster.db.types import from_db, to_db
from minitik_dagster.errors import FieldProblem, InvalidInputError, NotFoundError
from minitik_dagster.ids import new_id
from minitik_dagster.notifications.events import tell_changes
from minitik_dagster.publishing import epoch_queries as queries
from minitik_dagster.publishing.pause_queries import AUDIT
from minitik_dagster.scheduling.rollup import ROLL_UP

_log = structlog.get_logger(__name__)
REASON = (
    "the database was restored and may have forgotten that this was sent; look at the account, then: "
    "minitik reviews resolve"
)


@dataclass(frozen=True)
class Span:
    """What may be forgotten: everything after `since`, until `until`."""

    since: datetime
    until: datetime


@dataclass(frozen=True)
class QuarantineView:
    """A quarantine as operators read it; `waiting` of its `publications` are still in review."""

    id: str
    since: datetime
    until: datetime
    epoch: int | None
    mirrored_epoch: int | None
    declared_by: str | None
    opened_at: datetime
    reconciled_at: datetime | None
    publications: int
    waiting: int


def open_quarantine(
    connection: Connection,
    span: Span,
    *,
    epoch: int | None = None,
    mirrored: int | None = None,
    declared_by: str | None = None,
) -> str:
    """Put what fell due in the span to review, in the caller's transaction; return the quarantine's id.

    One that is not reconciled yet is widened instead. `declared_by`: a person said so.
    """
    opened = connection.execute(
        text(queries.OPEN),
        {
            "id": new_id(),
            "since": to_db(span.since),
            "until": to_db(span.until),
            "epoch": epoch,
            "mirrored": mirrored,
            "declared_by": declared_by,
        },
    ).one()
    values = {"id": opened.id, "since": opened.since, "until": opened.until, "reason": REASON}
    connection.execute(text(queries.LOCK_CONTENTS), values)
    rows = connection.execute(text(queries.TO_REVIEW), values).mappings().all()
    ids = [row["id"] for row in rows]
    for statement in (queries.CLOSE_COMMITS, queries.MAYBE_SENT):
        connection.execute(text(statement), {"ids": ids})
    tell_changes(connection, ids)
    for content_id, job_id in sorted({(row["content_id"], row["job_id"] or "") for row in rows}):
        for statement in ROLL_UP:
            connection.execute(
                text(statement), {"content_id": content_id, "job_id": job_id or None}
            )
    facts = {
        "since": opened.since.isoformat(),
        "until": opened.until.isoformat(),
        "publications": len(ids),
    }
    connection.execute(
        text(AUDIT),
        {
            "row_id": new_id(),
            "actor": declared_by or "epoch",
            "action": "restore.quarantine",
            "subject": opened.id,
            "detail": json.dumps(facts),
        },
    )
    _log.error("database.behind", quarantine=opened.id, **facts)
    return str(opened.id)


def declare(connection: Connection, span: Span, *, actor: str) -> str:
    """Open a quarantine by a person's word; InvalidInputError where the span is none."""
    if span.since >= span.until:
        problem = FieldProblem("until", "is not after `since`", "give the later instant")
        raise InvalidInputError(problem)
    return open_quarantine(connection, span, declared_by=actor)


def list_quarantines(connection: Connection) -> list[QuarantineView]:
    """Return the quarantines, the newest first."""
    return [
        QuarantineView(
            id=row["id"],
            since=from_db(row["since"]),
            until=from_db(row["until"]),
            epoch=row["epoch"],
            mirrored_epoch=row["mirrored_epoch"],
            declared_by=row["declared_by"],
            opened_at=from_db(row["opened_at"]),
            reconciled_at=from_db(row["reconciled_at"]) if row["reconciled_at"] else None,
            publications=row["publications"],
            waiting=row["waiting"],
        )
        for row in connection.execute(text(queries.LIST)).mappings()
    ]


def publications(connection: Connection, quarantine_id: str) -> Sequence[dict[str, Any]]:
    """Return what a quarantine put to review: the stage each stood at, and where it stands now.

    NotFoundError for one that is not there.
    """
    if connection.execute(text(queries.IS_THERE), {"id": quarantine_id}).first() is None:
        raise NotFoundError(f"no quarantine {quarantine_id[:64]!r}; see: minitik restore status")
    found = connection.execute(text(queries.PUBLICATIONS), {"id": quarantine_id}).mappings()
    return [{**row, "due_at": from_db(row["due_at"])} for row in found]


def waiting(connection: Connection) -> int:
    """Count what was put to review and waits for a person still."""
    return int(connection.execute(text(queries.WAITING)).scalar_one())

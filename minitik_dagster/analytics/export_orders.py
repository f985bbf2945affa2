"""Exports that people ask for: ordered, written once, fetched by a presigned link.

pending -(claim)-> running -> ready or failed; back to pending where a dependency did not answer; ready ->
expired a week later, when its file goes. The API process writes an order at once; what it left undone is
finished by the job `finish_exports`. A writer that died leaves `running`; after ten minutes its order may be
claimed again.
"""

import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.analytics import export_queries as queries
from minitik_dagster.analytics.days import day_range
from minitik_dagster.analytics.exports import CONTENT_TYPES, WRITERS, export_rows, stamp
from minitik_dagster.analytics.live_posts import database_now
from minitik_dagster.analytics.store import AnalyticsStore
from minitik_dagster.db.tables import AnalyticsExport
from minitik_dagster.errors import (
    DependencyDownError,
    FieldProblem,
    InvalidInputError,
    MinitikError,
    NotFoundError,
)
from minitik_dagster.ids import new_id
from minitik_dagster.media.keys import export_key
from minitik_dagster.media.listing import list_objects
from minitik_dagster.media.object_store import PRESIGNED_LIFETIME, ObjectStore

_log = structlog.get_logger(__name__)
_IN_MEMORY_BYTES: Final = 4 * 1024 * 1024
_TOO_LONG: Final = "could not be written within a day"
# How long a file is kept; said in docs/analytics.md. Numbers of its range go on changing: a new one is better.
KEPT: Final = timedelta(days=7)
_EXPIRED: Final = f"files are kept for {KEPT.days} days: order it again"
# The files that `write` makes (contracts' key, with our stamp): neither the lake beside them, nor what the old
# system left there.
_FILES: Final = re.compile(r"exports/[^/]+/analytics-\d+d-\d{8}T\d{9}Z\.(csv|json)")
# One run writes no more; the next one follows.
MOST_AT_ONCE: Final = 20


@dataclass(frozen=True)
class Order:
    """An export as its owner sees it; `url` is signed anew each time it is shown."""

    id: str
    status: str
    format: str
    range: str
    rows: int | None = None
    error: str | None = None
    url: str | None = None
    expires_at: datetime | None = None


def order(session: Session, user_id: str, *, format_: str, span: str) -> str:
    """Note the wish; InvalidInputError for a format or range there is not. Returns its id."""
    if format_ not in WRITERS:
        known = " or ".join(WRITERS)
        raise InvalidInputError(
            FieldProblem("format", f"{format_[:20]!r} is no format", f"use {known}")
        )
    now = database_now(session.connection())
    day_range(span, now)
    export = AnalyticsExport(
        id=new_id(), user_id=user_id, format=format_, range=span, status="pending", created_at=now
    )
    session.add(export)
    session.flush()
    return export.id


def write(
    engine: Engine, analytics: AnalyticsStore, objects: ObjectStore, export_id: str
) -> str | None:
    """Write an order that nobody else writes, and return its state; None where somebody else does.

    A failure is told in its row.
    """
    with engine.begin() as connection:
        row = connection.execute(text(queries.CLAIM), {"id": export_id}).mappings().one_or_none()
        now = database_now(connection)
    if row is None:
        return None
    ended: dict[str, object] = {"id": export_id, "key": None, "rows": None, "error": None}
    try:
        key = export_key(row["user_id"], row["range"], stamp(now), row["format"])
        with (
            tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file,
            engine.connect() as connection,
        ):
            rows = export_rows(analytics, connection, row["user_id"], day_range(row["range"], now))
            count = WRITERS[row["format"]](rows, file)
            file.seek(0)
            objects.put_file(key, file, CONTENT_TYPES[row["format"]])
        ended |= {"status": "ready", "key": key, "rows": count}
    except DependencyDownError as error:
        _log.warning("analytics.export_waits", export=export_id, reason=str(error))
        with engine.begin() as connection:
            connection.execute(text(queries.PUT_BACK), {"id": export_id})
        return "pending"
    except MinitikError as error:
        ended |= {"status": "failed", "error": type(error).__name__}
    except Exception:
        # Whatever it is, the order must end: left running, it would be written for ever.
        _log.exception("analytics.export_failed", export=export_id)
        ended |= {"status": "failed", "error": "an unexpected error"}
    with engine.begin() as connection:
        connection.execute(text(queries.END), ended)
    return str(ended["status"])


def undone(connection: Connection, *, limit: int = MOST_AT_ONCE) -> list[str]:
    """Return the orders that whoever took them left undone, the oldest first."""
    found = connection.execute(text(queries.UNDONE), {"limit": limit})
    return [str(one) for one in found.scalars()]


def finish_undone(engine: Engine, analytics: AnalyticsStore, objects: ObjectStore) -> Counter[str]:
    """Write what was left undone; returns how many came to which state. Safe to repeat.

    What a day did not suffice for is given up: `failed`.
    """
    told: Counter[str] = Counter()
    with engine.begin() as connection:
        given_up = connection.execute(text(queries.GIVE_UP), {"error": _TOO_LONG}).all()
        told["failed"] += len(given_up)
        waiting = undone(connection)
    for export_id in waiting:
        state = write(engine, analytics, objects, export_id)
        told[state or "taken by another"] += 1
        if state == "pending":
            break  # what it needs does not answer: nor will it for the next one
    return +told


def expire(connection: Connection) -> int:
    """Say of the orders whose time is over that they have expired; returns how many."""
    return len(connection.execute(text(queries.EXPIRE), {"error": _EXPIRED, "kept": KEPT}).all())


def remove_files(objects: ObjectStore, now: datetime) -> tuple[int, int]:
    """Delete the files that no link can lead to any more; returns how many and their bytes.

    By the bucket, not by the orders: a writer that was killed left a file that no order names. A link that
    was given at the last moment lives its hour. DependencyDownError where the bucket cannot be listed.
    """
    before = now - KEPT - PRESIGNED_LIFETIME
    count = size = 0
    for item in list_objects(objects, "exports/"):
        if item.modified_at < before and _FILES.fullmatch(item.key):
            objects.delete(item.key)
            count, size = count + 1, size + item.size
    return count, size


def read_order(session: Session, objects: ObjectStore, user_id: str, export_id: str) -> Order:
    """Return a person's order; NotFoundError where it is not there or not theirs."""
    export = session.get(AnalyticsExport, export_id)
    if export is None or export.user_id != user_id:
        raise NotFoundError(f"no export {export_id[:64]!r}")
    now = database_now(session.connection())
    status, error, url, expires_at = export.status, export.error, None, None
    if status == "ready" and (export.finished_at or now) < now - KEPT:
        # Maintenance comes once a day, and has not said so yet.
        status, error = "expired", _EXPIRED
    if status == "ready" and export.s3_key is not None:
        url, expires_at = objects.presign_get(export.s3_key), now + PRESIGNED_LIFETIME
    return Order(
        id=export.id,
        status=status,
        format=export.format,
        range=export.range,
        rows=export.rows,
        error=error,
        url=url,
        expires_at=expires_at,
    )

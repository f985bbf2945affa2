"""Exports that people ask for: ordered, written once, fetched by a presigned link.

pending -(claim)-> running -> ready or failed. A writer that died leaves `running`; after ten minutes
its order may be claimed again.
"""

import tempfile
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import Engine, text
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
from minitik_dagster.media.object_store import PRESIGNED_LIFETIME, ObjectStore

_log = structlog.get_logger(__name__)
_IN_MEMORY_BYTES: Final = 4 * 1024 * 1024


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


def write(engine: Engine, analytics: AnalyticsStore, objects: ObjectStore, export_id: str) -> None:
    """Write an order that nobody else writes; a failure is told in its row."""
    with engine.begin() as connection:
        row = connection.execute(text(queries.CLAIM), {"id": export_id}).mappings().one_or_none()
        now = database_now(connection)
    if row is None:
        return
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
    except MinitikError as error:
        reason = str(error) if isinstance(error, DependencyDownError) else type(error).__name__
        ended |= {"status": "failed", "error": reason}
    except Exception:
        _log.exception("analytics.export_failed", export=export_id)
        ended |= {"status": "failed", "error": "an unexpected error"}
    with engine.begin() as connection:
        connection.execute(text(queries.END), ended)


def read_order(session: Session, objects: ObjectStore, user_id: str, export_id: str) -> Order:
    """Return a person's order; NotFoundError where it is not there or not theirs."""
    export = session.get(AnalyticsExport, export_id)
    if export is None or export.user_id != user_id:
        raise NotFoundError(f"no export {export_id[:64]!r}")
    url = expires_at = None
    if export.status == "ready" and export.s3_key is not None:
        url = objects.presign_get(export.s3_key)
        expires_at = database_now(session.connection()) + PRESIGNED_LIFETIME
    return Order(
        id=export.id,
        status=export.status,
        format=export.format,
        range=export.range,
        rows=export.rows,
        error=export.error,
        url=url,
        expires_at=expires_at,
    )

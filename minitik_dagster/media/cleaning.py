"""Deleting from the bucket, reliably: first a note, then the deed.

The note stands in the transaction that makes an object superfluous, and a worker carries the notes out
until the bucket has heard. The API carries them out at once, the Dagster job `tidy_uploads` what was
left. Deleting is repeatable.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Final

import structlog
from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session, sessionmaker

from minitik_dagster.errors import DependencyDownError
from minitik_dagster.media import cleaning_queries as queries
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.resilience.backoff import backoff_delay

_log = structlog.get_logger(__name__)
_AT_ONCE: Final = 20
# Longer than the calls of one handful may take where the bucket answers slowly.
_BUSY: Final = timedelta(minutes=5)
# From so many failures on it is tried hourly; it is never given up: the object is somebody's.
_MANY, _HOURLY = 8, timedelta(hours=1)


def note_object(
    session: Session, content_id: str, key: str, *, upload_id: str | None = None
) -> None:
    """Note, in the caller's transaction, that an object is to be deleted.

    With `upload_id` (the store's) the multipart upload that would have made it is aborted first.
    """
    values = {"key": key, "content_id": content_id, "upload_id": upload_id}
    session.execute(text(queries.NOTE), values)


def waiting(session: Session) -> int:
    """How many objects are due to be deleted."""
    return int(session.execute(text(queries.WAITING)).scalar_one())


@dataclass
class Cleaned:
    """What a cleaning did: objects deleted, kept because they are needed, to be tried again."""

    deleted: int = 0
    kept: int = 0
    again: int = 0


@dataclass(frozen=True)
class Cleaner:
    """Carries the notes out; several may work at once. Each note is a transaction of its own."""

    sessions: sessionmaker[Session]
    store: ObjectStore
    random: Random = field(default_factory=Random)

    def work(self, most: int = 1_000) -> Cleaned:
        """Delete what is due, `most` of it. A bucket that is down leaves the rest for later."""
        cleaned = Cleaned()
        for _ in range(0, most, _AT_ONCE):
            with self.sessions.begin() as session:
                values = {"limit": _AT_ONCE, "busy": _BUSY}
                rows = session.execute(text(queries.CLAIM), values).mappings().all()
            for row in rows:
                self._carry_out(row, cleaned)
            if len(rows) < _AT_ONCE or cleaned.again:
                break
        return cleaned

    def _carry_out(self, row: RowMapping, cleaned: Cleaned) -> None:
        with self.sessions.begin() as session:
            values = {"content_id": row["content_id"], "key": row["key"]}
            session.execute(text(queries.LOCK_CONTENT), values)
            needed = session.execute(text(queries.NEEDED_BY), values).scalar_one_or_none()
        if needed == "content":
            cleaned.kept += 1
            self._say(queries.DONE, row, note="kept: a content holds it")
            return
        if needed == "post":
            cleaned.kept += 1
            self._say(queries.AGAIN, row, note="kept: a post needs it", wait=_HOURLY)
            return
        try:
            if row["upload_id"]:
                self.store.abort(row["key"], row["upload_id"])
            self.store.delete(row["key"])
        except DependencyDownError as error:
            cleaned.again += 1
            _log.warning("cleaning.again", note=row["id"], attempts=row["attempts"])
            wait = backoff_delay(row["attempts"], self.random)
            if row["attempts"] >= _MANY:
                wait = _HOURLY
            self._say(queries.AGAIN, row, note=str(error), wait=wait)
            return
        cleaned.deleted += 1
        self._say(queries.DONE, row, note=None)

    def _say(self, statement: str, row: RowMapping, **values: object) -> None:
        with self.sessions.begin() as session:
            session.execute(text(statement), {"message_id": row["id"], **values})

"""Deleting contents: their posts come first, the row stays for the history, the media goes reliably.

What is scheduled is deleted only by somebody who says that its posts are to be cancelled; what is being
sent or settled, by nobody. The content's lock, which scheduling takes too, keeps new posts out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from minitik_dagster.clock import Clock, SystemClock
from minitik_dagster.db.audit import note
from minitik_dagster.db.models import Content, Publication
from minitik_dagster.db.stages import FINAL
from minitik_dagster.db.tables import UploadSession
from minitik_dagster.db.types import PublicationStatus
from minitik_dagster.errors import StateConflictError
from minitik_dagster.media.cleaning import note_object
from minitik_dagster.media.editing import require_version
from minitik_dagster.media.library import get_content
from minitik_dagster.media.uploads import end_without_file, note_all_objects
from minitik_dagster.scheduling.changes import refuse_unchangeable, roll_up_all, withdraw
from minitik_dagster.scheduling.discards import Undone
from minitik_dagster.scheduling.rules import database_now

Posts = Literal["refuse", "cancel"]
_FINAL: Final = frozenset(stage.value for stage in FINAL)
_LEGACY_OPEN: Final = (PublicationStatus.QUEUED, PublicationStatus.PUBLISHING)
# The old system's queue may still post these.
_OLD_JOBS: Final = text(
    """
    SELECT count(*) FROM scheduled_jobs j
    WHERE j."contentId" = :content_id AND j.status IN ('PENDING','ACTIVE')
        AND NOT EXISTS (SELECT 1 FROM publications p WHERE p."scheduledJobId" = j.id)
    """
)


@dataclass(frozen=True)
class Deleted:
    """A content that is gone: which of its posts were cancelled, and what becomes of what was prepared."""

    content_id: str
    cancelled: tuple[str, ...] = ()
    undone: tuple[Undone, ...] = ()


def delete_content(
    session: Session,
    user_id: str,
    content_id: str,
    *,
    posts: Posts = "refuse",
    versions: frozenset[str] | None = None,
    clock: Clock | None = None,
) -> Deleted:
    """Delete a content of the user's in the caller's transaction; its objects are noted for deletion.

    Raises NotFoundError, StaleVersionError, and StateConflictError, with nothing changed: while posts
    of it are scheduled (unless `posts` is "cancel"), while one is being sent, settled or reviewed, while
    its upload is being completed, and while the old system's queue may post it.
    """
    content = get_content(session, user_id, content_id, lock=True)
    require_version(content, versions)
    waiting = _waiting(session, content, posts)
    undone = withdraw(session, waiting)
    roll_up_all(session, waiting)
    deleted = Deleted(content_id, tuple(item.id for item in waiting), undone)
    note(session, user_id, "content.delete", content_id, {"cancelled": list(deleted.cancelled)})
    if content.file_path is None and _end_uploads(session, content, clock or SystemClock()):
        return deleted
    for key in (content.file_path, content.thumbnail_path):
        if key is not None:
            note_object(session, content_id, key)
    content.deleted_at = content.updated_at = database_now(session)
    session.flush()
    return deleted


def _waiting(session: Session, content: Content, posts: Posts) -> Sequence[Publication]:
    """Return the content's unfinished posts, locked; StateConflictError where one stands against it."""
    found = session.scalars(
        select(Publication)
        .where(Publication.content_id == content.id)
        .order_by(Publication.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    legacy = [p for p in found if p.stage is None and p.status in _LEGACY_OPEN]
    if legacy or session.execute(_OLD_JOBS, {"content_id": content.id}).scalar_one():
        raise StateConflictError(
            "posts of this content wait in the old system's queue; an operator runs: minitik adopt",
            state="legacy",
        )
    unfinished = [p for p in found if p.stage is not None and p.stage not in _FINAL]
    refuse_unchangeable(session, unfinished)
    if unfinished and posts == "refuse":
        raise StateConflictError(
            f"{len(unfinished)} posts of this content are scheduled; "
            "cancel them first, or ask with posts=cancel",
            state=str(unfinished[0].stage),
        )
    return unfinished


def _end_uploads(session: Session, content: Content, clock: Clock) -> bool:
    """Drop the uploads of a content that has no file yet; whether its row went with them."""
    content_id = content.id
    uploads = session.scalars(
        select(UploadSession)
        .where(
            UploadSession.content_id == content.id,
            UploadSession.status.in_(["open", "completing"]),
        )
        .with_for_update()
    ).all()
    if any(upload.status == "completing" for upload in uploads):
        raise StateConflictError("its upload is being completed; ask again", state="completing")
    for upload in uploads:
        note_all_objects(session, upload)
        end_without_file(session, upload, "aborted", clock)
    session.flush()
    session.expire_all()
    return session.get(Content, content_id) is None

"""The life of an upload, as far as its parts: begin, resume, confirm a part, abort, expire.

    open ──complete──> completing ──> completed        (media/completion.py)
     │  ^                  │
     │  └─ not finished ───┤  a part is missing or the store is down: nothing has changed
     │                     └─> aborted   the file is no video that any platform takes
     ├──abort──> aborted
     └──24 h──> expired

An upload that ends without a usable file leaves nothing: parts, object and content row go, the
session's row stays as the record of what happened.
"""

import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from minitik_dagster.clock import Clock, SystemClock
from minitik_dagster.db.models import Content, Publication, ScheduledJob
from minitik_dagster.db.tables import UploadPart, UploadSession
from minitik_dagster.db.types import ContentStatus
from minitik_dagster.errors import (
    DependencyDownError,
    FieldProblem,
    InvalidInputError,
    NotFoundError,
    StateConflictError,
)
from minitik_dagster.ids import new_id
from minitik_dagster.media.cleaning import note_object
from minitik_dagster.media.facts import MIME_TYPES
from minitik_dagster.media.keys import content_key, thumbnail_key
from minitik_dagster.media.new_upload import NewUpload
from minitik_dagster.media.object_store import ObjectStore, StoredPart, UploadGoneError
from minitik_dagster.media.parts import (
    chunk_size_for,
    clean_etag,
    part_length,
    record_parts,
    recorded_parts,
)
from minitik_dagster.media.quota import require_room

UPLOAD_LIFETIME: Final = timedelta(hours=24)
# A completion that is older than this was cut off (its process was killed) and may be taken over.
COMPLETION_LEASE: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class ChunkUrl:
    """Where to PUT part `number`; the URL is a credential that lives one hour."""

    number: int
    url: str
    length: int


@dataclass(frozen=True)
class OpenUpload:
    """An upload that waits for parts: `parts` have arrived, `chunk_urls` are for the others."""

    content_id: str
    upload_id: str
    key: str
    chunk_size: int
    total_chunks: int
    chunk_urls: tuple[ChunkUrl, ...]
    parts: tuple[StoredPart, ...] = ()


class Uploads:
    """Uploads of videos into the bucket, part by part. Each method works in the caller's transaction.

    `quota` is how many bytes a person may keep in all; None = any number.
    """

    def __init__(
        self, store: ObjectStore, clock: Clock | None = None, *, quota: int | None = None
    ) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._quota = quota

    def begin(self, session: Session, user_id: str, new: NewUpload) -> OpenUpload:
        """Make a DRAFT content and its multipart upload, and sign a URL for each part.

        Raises InvalidInputError, RuleRefusedError, DependencyDownError; nothing is made then.
        """
        new.check()
        if self._quota is not None:
            require_room(session, user_id, new.file_size, self._quota)
        now = self._clock.now()
        content_id = new_id()
        key = content_key(user_id, content_id, new.filename, new.mime_type)
        chunk_size = chunk_size_for(new.file_size)
        s3_upload_id = self._store.create_multipart(key, new.mime_type)
        upload = UploadSession(
            id=new_id(),
            content_id=content_id,
            user_id=user_id,
            s3_key=key,
            s3_upload_id=s3_upload_id,
            filename=new.filename.replace("\0", ""),
            mime_type=new.mime_type,
            file_size=new.file_size,
            chunk_size=chunk_size,
            total_chunks=math.ceil(new.file_size / chunk_size),
            status="open",
            created_at=now,
            updated_at=now,
            expires_at=now + UPLOAD_LIFETIME,
        )
        content = Content(
            id=content_id,
            user_id=user_id,
            title=new.title.strip(),
            description=new.description or None,
            file_size=new.file_size,
            mime_type=new.mime_type,
            status=ContentStatus.DRAFT,
            created_at=now,
            updated_at=now,
        )
        try:
            session.add_all([content, upload])
            session.flush()
        except BaseException:
            with suppress(DependencyDownError):
                self._store.abort(key, s3_upload_id)
            raise
        return self._opened(upload, ())

    def resume(self, session: Session, user_id: str, wanted: str) -> OpenUpload:
        """Say which parts have arrived, and sign URLs anew for those that have not.

        Raises NotFoundError, StateConflictError, DependencyDownError.
        """
        upload = find_upload(session, user_id, wanted)
        self._require_open(upload)
        try:
            listed = self._store.list_parts(upload.s3_key, upload.s3_upload_id)
        except UploadGoneError:
            raise StateConflictError(
                "The object store no longer knows this upload; begin a new one.", state="expired"
            ) from None
        if listed is None:
            listed = recorded_parts(session, upload.id)
        arrived = tuple(part for part in listed if 1 <= part.number <= upload.total_chunks)
        return self._opened(upload, arrived)

    def confirm_part(
        self, session: Session, user_id: str, wanted: str, number: int, etag: str | None
    ) -> OpenUpload:
        """Note that a part has been sent; safe to repeat. The ETag is compared at completion.

        Returns the upload with the parts noted so far and no URLs.
        """
        upload = find_upload(session, user_id, wanted, lock=True)
        if not 1 <= number <= upload.total_chunks:
            raise InvalidInputError(
                FieldProblem(
                    "partNumber",
                    f"The upload has no part {number}.",
                    f"Use 1 to {upload.total_chunks}.",
                )
            )
        clean = None if etag is None else clean_etag(etag, "etag")
        self._require_open(upload)
        record_parts(
            session,
            upload.id,
            [StoredPart(number, clean or "", part_length(upload, number))],
            self._clock,
        )
        upload.updated_at = self._clock.now()
        return OpenUpload(
            content_id=upload.content_id,
            upload_id=upload.id,
            key=upload.s3_key,
            chunk_size=upload.chunk_size,
            total_chunks=upload.total_chunks,
            chunk_urls=(),
            parts=recorded_parts(session, upload.id),
        )

    def abort(self, session: Session, user_id: str, wanted: str) -> UploadSession:
        """Drop the parts and the content row; safe to repeat. 409 once it is completed.

        Raises NotFoundError, StateConflictError, DependencyDownError (nothing is changed then).
        """
        upload = find_upload(session, user_id, wanted, lock=True)
        if upload.status == "aborted":
            return upload
        if upload.status == "completed" or self._is_completing(upload):
            raise StateConflictError(
                f"The upload is {upload.status} and cannot be aborted.", state=upload.status
            )
        self._drop_from_store(upload)
        end_without_file(session, upload, "aborted", self._clock)
        return upload

    def expire_stale(self, session: Session, *, limit: int = 100) -> int:
        """End uploads whose time has passed, cut-off completions too; return how many.

        For the maintenance job. What they had in the bucket is noted for deletion (media/cleaning.py).
        """
        stale = session.scalars(
            select(UploadSession)
            .where(_is_stale(self._clock.now()))
            .order_by(UploadSession.expires_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        ).all()
        for upload in stale:
            note_all_objects(session, upload)
            end_without_file(session, upload, "expired", self._clock)
        return len(stale)

    def _drop_from_store(self, upload: UploadSession) -> None:
        self._store.abort(upload.s3_key, upload.s3_upload_id)
        if upload.status == "completing":
            self._store.delete(upload.s3_key)  # cut off, perhaps after it had assembled the parts

    def _is_completing(self, upload: UploadSession) -> bool:
        since = self._clock.now() - upload.updated_at
        return upload.status == "completing" and since < COMPLETION_LEASE

    def _require_open(self, upload: UploadSession) -> None:
        expired = upload.status == "open" and upload.expires_at < self._clock.now()
        state = "expired" if expired else upload.status
        if state != "open":
            raise StateConflictError(
                f"The upload is {state}; only an open one takes parts.", state=state
            )

    def _opened(self, upload: UploadSession, arrived: tuple[StoredPart, ...]) -> OpenUpload:
        have = {part.number for part in arrived}
        return OpenUpload(
            content_id=upload.content_id,
            upload_id=upload.id,
            key=upload.s3_key,
            chunk_size=upload.chunk_size,
            total_chunks=upload.total_chunks,
            chunk_urls=tuple(
                ChunkUrl(
                    number,
                    self._store.presign_part(
                        upload.s3_key, upload.s3_upload_id, number, part_length(upload, number)
                    ),
                    part_length(upload, number),
                )
                for number in range(1, upload.total_chunks + 1)
                if number not in have
            ),
            parts=arrived,
        )


def stale_uploads(session: Session, clock: Clock | None = None) -> int:
    """How many uploads are to be ended by the maintenance job."""
    now = (clock or SystemClock()).now()
    query = select(func.count()).select_from(UploadSession).where(_is_stale(now))
    return session.scalar(query) or 0


def _is_stale(now: datetime) -> ColumnElement[bool]:
    """Past its day and open, or left by a completion that was cut off."""
    cut_off = (UploadSession.status == "completing") & (
        UploadSession.updated_at < now - COMPLETION_LEASE
    )
    return (UploadSession.expires_at < now) & ((UploadSession.status == "open") | cut_off)


def find_upload(
    session: Session, user_id: str, wanted: str, *, lock: bool = False
) -> UploadSession:
    """Find the user's newest upload by content id or upload id; NotFoundError for any other."""
    query = (
        select(UploadSession)
        .where(
            UploadSession.user_id == user_id,
            or_(UploadSession.content_id == wanted, UploadSession.id == wanted),
        )
        .order_by(UploadSession.created_at.desc(), UploadSession.id.desc())
        .limit(1)
    )
    found = None
    if is_plain_id(wanted):
        found = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if found is None:
        raise NotFoundError("There is no such upload.")
    return found


def is_plain_id(text: str) -> bool:
    """Whether a text can be an id at all: PostgreSQL takes neither NUL nor lone surrogates."""
    return 0 < len(text) <= 128 and text.isprintable() and text.isascii()


def note_all_objects(session: Session, upload: UploadSession) -> None:
    """Note for deletion whatever an upload that ends without a file may have left in the bucket.

    A completion that was cut off may have made the thumbnail, and a copy under another type's name.
    """
    note_object(session, upload.content_id, upload.s3_key, upload_id=upload.s3_upload_id)
    ids = (upload.user_id, upload.content_id)
    others = {content_key(*ids, upload.filename, kind) for kind in MIME_TYPES}
    for key in (*sorted(others - {upload.s3_key}), thumbnail_key(*ids)):
        note_object(session, upload.content_id, key)


def end_without_file(session: Session, upload: UploadSession, status: str, clock: Clock) -> None:
    """Close the session and take back its content row, unless something already hangs on that."""
    upload.status = status
    upload.updated_at = clock.now()
    session.execute(delete(UploadPart).where(UploadPart.upload_session_id == upload.id))
    session.execute(
        delete(Content).where(
            Content.id == upload.content_id,
            Content.file_path.is_(None),
            # The adopted foreign keys cascade: a row with history is never deleted.
            ~exists().where(Publication.content_id == upload.content_id),
            ~exists().where(ScheduledJob.content_id == upload.content_id),
        )
    )

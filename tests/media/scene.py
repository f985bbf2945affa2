"""What a test of uploads works with, and the moves of a client that uploads."""

import hashlib
from dataclasses import dataclass

import httpx2
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from minitik_dagster.clock import MovableClock
from minitik_dagster.db.models import Content
from minitik_dagster.db.tables import UploadPart, UploadSession
from minitik_dagster.media.cleaning import Cleaned, Cleaner
from minitik_dagster.media.completion import Completion
from minitik_dagster.media.new_upload import NewUpload
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.media.uploads import OpenUpload, Uploads


@dataclass(frozen=True)
class Scene:
    """A database, a bucket, a clock, and two people: `user` uploads, `stranger` must see nothing."""

    sessions: sessionmaker[Session]
    store: ObjectStore
    clock: MovableClock
    user: str
    stranger: str

    @property
    def uploads(self) -> Uploads:
        """The life cycle under test."""
        return Uploads(self.store, self.clock)

    @property
    def completion(self) -> Completion:
        """The completion under test."""
        return Completion(self.sessions, self.store, self.clock)

    def clean(self) -> Cleaned:
        """Carry out what is noted for deletion."""
        return Cleaner(self.sessions, self.store).work()

    def begin(self, size: int, *, mime_type: str = "video/mp4") -> OpenUpload:
        """Begin an upload of `size` bytes."""
        new = NewUpload("A walk", "walk.mp4", mime_type, size)
        with self.sessions.begin() as session:
            return self.uploads.begin(session, self.user, new)

    def send(
        self, upload: OpenUpload, data: bytes, *, only: set[int] | None = None
    ) -> dict[int, str]:
        """PUT the parts to their URLs and confirm each; return the ETags."""
        etags = {}
        for chunk in upload.chunk_urls:
            if only is not None and chunk.number not in only:
                continue
            start = upload.chunk_size * (chunk.number - 1)
            answer = httpx2.put(chunk.url, content=data[start : start + upload.chunk_size])
            assert answer.status_code == 200
            etags[chunk.number] = answer.headers["ETag"]
            self.confirm(upload, chunk.number, answer.headers["ETag"])
        return etags

    def confirm(self, upload: OpenUpload, number: int, etag: str | None) -> None:
        """Tell that a part was sent."""
        with self.sessions.begin() as session:
            self.uploads.confirm_part(session, self.user, upload.content_id, number, etag)

    def status(self, upload: OpenUpload) -> str:
        """The upload's state as stored."""
        with self.sessions() as session:
            return session.scalars(
                select(UploadSession.status).where(UploadSession.id == upload.upload_id)
            ).one()

    def content(self, upload: OpenUpload) -> Content | None:
        """The upload's content row, if it is there."""
        with self.sessions() as session:
            return session.get(Content, upload.content_id)

    def counts(self) -> tuple[int, int, int]:
        """How many contents, uploads and parts there are."""
        with self.sessions() as session:
            contents, uploads, parts = (
                session.scalar(select(func.count()).select_from(table)) or 0
                for table in (Content, UploadSession, UploadPart)
            )
        return contents, uploads, parts


def sha256(data: bytes) -> str:
    """The digest as answers show it."""
    return hashlib.sha256(data).hexdigest()

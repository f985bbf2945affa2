"""A small file in one request: the life of an upload in parts, whose parts we send ourselves.

Nothing is done twice or by halves: the draft stands before a byte is stored, the checks are those of
every completion, and a failure leaves an upload that ends like any other.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sqlalchemy.orm import Session, sessionmaker

from minitik_dagster.clock import Clock
from minitik_dagster.db.tables import UploadSession
from minitik_dagster.errors import (
    DependencyDownError,
    InvalidInputError,
    MinitikError,
    RuleRefusedError,
)
from minitik_dagster.media.completion import CompletedUpload, Completion
from minitik_dagster.media.new_upload import NewUpload
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.media.probe import check_head
from minitik_dagster.media.sniff import FIRST_BYTES
from minitik_dagster.media.uploads import OpenUpload, Uploads

DIRECT_MAX_BYTES: Final = 16 * 1024 * 1024
_ENDED: Final = frozenset({"aborted", "expired"})


class DirectUploads:
    """Uploads of files of 16 MiB at most. `sessions` makes sessions of its own transactions."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        store: ObjectStore,
        *,
        quota: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._uploads = Uploads(store, clock, quota=quota)

    def upload(
        self,
        user_id: str,
        new: NewUpload,
        data: bytes,
        begun: Callable[[Session, Callable[[], OpenUpload]], str],
    ) -> CompletedUpload:
        """Store, check and judge `data`.

        `begun` is called in the transaction that begins it, with what makes the upload, and returns the
        upload's id: the new one, or that of the same request before. Raises as Completion.complete does,
        and InvalidInputError and RuleRefusedError for what is announced.
        """
        try:
            check_head(data[:FIRST_BYTES])
        except InvalidInputError as error:
            raise RuleRefusedError(*error.problems) from None
        with self._sessions.begin() as session:
            upload_id = begun(session, lambda: self._uploads.begin(session, user_id, new))
            upload = session.get_one(UploadSession, upload_id)
            session.expunge(upload)
        etags = {}
        try:
            for number in range(1, upload.total_chunks + 1) if upload.status == "open" else ():
                start = upload.chunk_size * (number - 1)
                piece = data[start : start + upload.chunk_size]
                etags[number] = self._store.put_part(
                    upload.s3_key, upload.s3_upload_id, number, piece
                )
            completion = Completion(self._sessions, self._store, self._clock)
            return completion.complete(user_id, upload_id, etags)
        except DependencyDownError:
            # Whoever sent it knows no id to go on with.
            with suppress(MinitikError), self._sessions.begin() as session:
                self._uploads.abort(session, user_id, upload_id)
            raise


def has_ended(session: Session, upload_id: str) -> bool:
    """Whether an upload is over without a file: then the same request may begin anew."""
    upload = session.get(UploadSession, upload_id)
    return upload is None or upload.status in _ENDED

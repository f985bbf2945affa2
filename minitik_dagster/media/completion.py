"""Completing an upload: assemble the parts, verify, probe, judge, and only then call it a video.

It works in transactions of its own: claim the upload, work without one (probing takes seconds), and
write the result if the claim still stands. Whatever goes wrong before the parts are assembled leaves
the upload open as it was; a file that is no usable video takes the whole upload back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session, sessionmaker

from minitik_dagster.clock import Clock, SystemClock
from minitik_dagster.db.models import Content
from minitik_dagster.db.tables import UploadSession
from minitik_dagster.db.types import ContentStatus
from minitik_dagster.errors import (
    FieldProblem,
    InvalidInputError,
    NotFoundError,
    RuleRefusedError,
    StateConflictError,
)
from minitik_dagster.media.cleaning import Cleaner, note_object
from minitik_dagster.media.facts import MediaFacts
from minitik_dagster.media.keys import content_key, thumbnail_key
from minitik_dagster.media.object_store import (
    ObjectStore,
    PartsRefusedError,
    StoredObject,
    StoredPart,
    UploadGoneError,
)
from minitik_dagster.media.part_checks import (
    UPLOAD_AGAIN,
    check_numbers,
    parts_as_listed,
    parts_as_told,
)
from minitik_dagster.media.parts import clean_etag, record_parts, recorded_parts
from minitik_dagster.media.probe import Probe, probe
from minitik_dagster.media.uploads import (
    COMPLETION_LEASE,
    end_without_file,
    find_upload,
    note_all_objects,
)
from minitik_dagster.media.verdicts import Verdict, judge_all
from minitik_dagster.notifications.events import CONTENT_READY, tell

_CLEAN_AT_ONCE: Final = 20


@dataclass(frozen=True)
class CompletedUpload:
    """A video that is ready to be published, and what each platform says to it."""

    content: Content
    facts: MediaFacts
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class _Claim:
    """An upload that this completion owns until `claimed_at` is overwritten."""

    upload: UploadSession
    parts: Mapping[int, StoredPart]
    claimed_at: datetime
    taken_over: bool  # from a completion that was cut off, wherever it stood


class Completion:
    """Completes uploads. `sessions` makes sessions of its own transactions."""

    def __init__(
        self, sessions: sessionmaker[Session], store: ObjectStore, clock: Clock | None = None
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._clock = clock or SystemClock()

    def complete(
        self, user_id: str, wanted: str, etags: Mapping[int, str] | None = None
    ) -> CompletedUpload:
        """Complete the user's upload `wanted` (content id or upload id); safe to repeat.

        `etags` are what the client was answered per part, optional and only compared where the store
        can list its parts. Raises NotFoundError, StateConflictError (409, with the state),
        RuleRefusedError (422: a part is missing or another one, or no platform takes the file) and
        DependencyDownError (503: nothing has changed, ask again).
        """
        told = {n: clean_etag(e, f"parts[{n}].etag") for n, e in (etags or {}).items()}
        claimed = self._claim(user_id, wanted, told)
        if isinstance(claimed, CompletedUpload):
            return claimed
        try:
            parts = self._assemble(claimed)
            found = self._examine(claimed.upload)
        except _UnusableFileError as unusable:
            self._take_back(claimed, "aborted")
            raise RuleRefusedError(*unusable.problems) from None
        except UploadGoneError:
            self._take_back(claimed, "expired")
            raise StateConflictError(
                "The object store no longer knows this upload; begin a new one.", state="expired"
            ) from None
        except BaseException:
            self._reopen(claimed)
            raise
        return self._finish(claimed, parts, found)

    def _claim(
        self, user_id: str, wanted: str, told: Mapping[int, str]
    ) -> "_Claim | CompletedUpload":
        with self._sessions.begin() as session:
            upload = find_upload(session, user_id, wanted, lock=True)
            recorded = {part.number: part for part in recorded_parts(session, upload.id)}
            for number, etag in told.items():
                known = recorded.get(number, StoredPart(number, ""))
                recorded[number] = replace(known, etag=etag)
            if upload.status == "completed":
                return self._already(session, upload, told)
            now = self._clock.now()
            busy = upload.status == "completing" and now - upload.updated_at < COMPLETION_LEASE
            late = upload.status == "open" and upload.expires_at < now
            if busy or late or upload.status not in {"open", "completing"}:
                state = "expired" if late else upload.status
                raise StateConflictError(
                    f"The upload is {state} and cannot be completed.", state=state
                )
            check_numbers(told, upload)
            taken_over = upload.status == "completing"
            upload.status = "completing"
            # The stored instant has milliseconds: the claim is compared with what is stored.
            upload.updated_at = now.replace(microsecond=now.microsecond // 1000 * 1000)
            session.flush()
            session.expunge(upload)
            return _Claim(upload, recorded, upload.updated_at, taken_over)

    def _already(
        self, session: Session, upload: UploadSession, told: Mapping[int, str]
    ) -> CompletedUpload:
        """Answer a repeated completion as the first; 409 when it speaks of other parts."""
        stored = {part.number: part.etag for part in recorded_parts(session, upload.id)}
        if any(stored.get(number) != etag for number, etag in told.items()):
            raise StateConflictError(
                "The upload was completed with other parts.", state="completed"
            )
        content = session.get(Content, upload.content_id)
        facts = MediaFacts.from_metadata(content.details) if content is not None else None
        if content is None or content.deleted_at is not None or facts is None:
            raise NotFoundError("There is no such upload.")
        session.expunge(content)
        return CompletedUpload(content, facts, judge_all(facts))

    def _assemble(self, claim: _Claim) -> tuple[StoredPart, ...]:
        """Verify the parts and put them together; returns them as the store has them."""
        upload = claim.upload
        try:
            listed = self._store.list_parts(upload.s3_key, upload.s3_upload_id)
            parts = (
                parts_as_told(upload, claim.parts)
                if listed is None
                else parts_as_listed(upload, claim.parts, listed)
            )
            self._store.complete(upload.s3_key, upload.s3_upload_id, parts)
        except PartsRefusedError as refused:
            only = "parts[1]" if upload.total_chunks == 1 else "parts"
            raise RuleRefusedError(
                FieldProblem(
                    only,
                    f"The object store has other parts than were named ({refused.code}).",
                    f"Compare the ETags. {UPLOAD_AGAIN}",
                )
            ) from None
        except UploadGoneError:
            # Assembled already, by a completion that was cut off before it could say so?
            parts = tuple(claim.parts.values())
            if self._store.head(upload.s3_key) is None:
                raise
        return parts

    def _examine(self, upload: UploadSession) -> Probe:
        """Verify the object's size, probe it, and ask whether any platform takes it."""
        stored = self._store.head(upload.s3_key)
        if stored is None:
            raise UploadGoneError
        if stored.size != upload.file_size:
            raise _UnusableFileError(
                FieldProblem(
                    "fileSize",
                    f"{stored.size} bytes arrived, {upload.file_size} were announced.",
                    "Upload the file again, announcing its true size.",
                )
            )
        try:
            found = probe(
                lambda offset, length: self._store.read(upload.s3_key, offset, length), stored.size
            )
        except InvalidInputError as error:
            raise _UnusableFileError(*error.problems) from None
        found = replace(found, facts=replace(found.facts, fingerprint=_fingerprint(found, stored)))
        verdicts = judge_all(found.facts)
        if not any(verdict.accepted for verdict in verdicts):
            raise _UnusableFileError(*[p for verdict in verdicts for p in verdict.problems()])
        return found

    def _finish(self, claim: _Claim, parts: Sequence[StoredPart], found: Probe) -> CompletedUpload:
        upload, facts = claim.upload, found.facts
        key, thumbnail = upload.s3_key, None
        try:
            if facts.mime_type != upload.mime_type:
                # Announced as another type: the key's extension and the stored type go by the file.
                key = content_key(
                    upload.user_id, upload.content_id, upload.filename, facts.mime_type
                )
                self._store.copy(upload.s3_key, key, facts.mime_type)
            if found.thumbnail:
                thumbnail = thumbnail_key(upload.user_id, upload.content_id)
                self._store.put(thumbnail, found.thumbnail, "image/jpeg")
            content = self._write(claim, parts, facts, key, thumbnail)
        except BaseException:
            self._reopen(claim)
            raise
        if key != upload.s3_key:
            self._clean()
        return CompletedUpload(content, facts, judge_all(facts))

    def _write(
        self,
        claim: _Claim,
        parts: Sequence[StoredPart],
        facts: MediaFacts,
        key: str,
        thumbnail: str | None,
    ) -> Content:
        now = self._clock.now()
        with self._sessions.begin() as session:
            upload = self._still_claimed(session, claim)
            content = session.get(Content, claim.upload.content_id, with_for_update=True)
            if upload is None or content is None or content.status is not ContentStatus.DRAFT:
                raise StateConflictError("The upload was taken over meanwhile.", state="completing")
            if key != upload.s3_key:
                note_object(session, content.id, upload.s3_key)
            upload.status, upload.s3_key, upload.updated_at = "completed", key, now
            record_parts(session, upload.id, parts, self._clock)
            content.file_path, content.thumbnail_path = key, thumbnail
            content.file_size, content.mime_type = facts.size, facts.mime_type
            content.duration = None if facts.duration is None else round(facts.duration)
            content.details = {**(content.details or {}), **facts.to_metadata()}
            content.updated_at = now
            session.flush()
            tell(
                session,
                content.user_id,
                CONTENT_READY,
                contentId=content.id,
                mimeType=facts.mime_type,
                fileSize=str(facts.size),
                duration=facts.duration,
            )
            session.expunge(content)
        return content

    def _reopen(self, claim: _Claim) -> None:
        with self._sessions.begin() as session:
            upload = self._still_claimed(session, claim)
            if upload is not None:
                upload.status = "open"
                upload.updated_at = self._clock.now()

    def _take_back(self, claim: _Claim, status: str) -> None:
        with self._sessions.begin() as session:
            upload = self._still_claimed(session, claim)
            if upload is None:
                return
            if claim.taken_over:
                note_all_objects(session, upload)
            else:
                note_object(
                    session, upload.content_id, upload.s3_key, upload_id=upload.s3_upload_id
                )
            end_without_file(session, upload, status, self._clock)
        self._clean()

    def _clean(self) -> None:
        """Delete what was noted now; what is left then is the maintenance job's."""
        Cleaner(self._sessions, self._store).work(_CLEAN_AT_ONCE)

    def _still_claimed(self, session: Session, claim: _Claim) -> UploadSession | None:
        upload = session.get(UploadSession, claim.upload.id, with_for_update=True)
        if upload is None or upload.status != "completing":
            return None
        return upload if upload.updated_at == claim.claimed_at else None


class _UnusableFileError(Exception):
    """What was uploaded cannot be published by anyone; the upload is taken back."""

    def __init__(self, *problems: FieldProblem) -> None:
        self.problems = problems
        super().__init__(len(problems))


def _fingerprint(found: Probe, stored: StoredObject) -> str:
    """Tell a file by its hash; a large one, which is not read whole, by its size and S3's own digest.

    The ETag of a multipart object is made of the parts' MD5s (S3 User Guide, "Checking object
    integrity"), and the parts' size follows from the file's: the same file has the same one again.
    Taken before the object is ever copied, which would make another.
    """
    if found.facts.sha256 is not None:
        return f"sha256:{found.facts.sha256}"
    return f"s3:{stored.size}:{stored.etag}"

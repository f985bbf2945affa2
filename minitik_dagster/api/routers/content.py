"""`/api/content`: upload a video in parts straight to the bucket, complete it, find it again."""

from typing import Annotated

from anyio import to_thread
from fastapi import Depends
from sqlalchemy.orm import sessionmaker

from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.dependencies import (
    EngineDep,
    SessionDep,
    SettingsDep,
    StateDep,
    StoreDep,
)
from minitik_dagster.api.idempotency import OnceDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.content import CompletedUploadView
from minitik_dagster.api.schemas.uploads import (
    AbortedUploadView,
    BeginUpload,
    CompleteUpload,
    ConfirmedPartView,
    ConfirmPart,
    ResumedUploadView,
    UploadView,
)
from minitik_dagster.media.completion import Completion
from minitik_dagster.media.uploads import Uploads

router = Router(prefix="/api/content", tags=["content"])

Writer = Annotated[Caller, Depends(require_scope("content:write"))]
Reader = Annotated[Caller, Depends(require_scope("content:read"))]


@router.post("", status_code=201, responses=problems(409, 422))
@router.post("/upload/init", status_code=201, responses=problems(409, 422))
def begin_upload(
    body: BeginUpload,
    caller: Writer,
    store: StoreDep,
    transaction: SessionDep,
    once: OnceDep,
    settings: SettingsDep,
) -> UploadView:
    """Begin an upload: a draft content, and a presigned URL for each part."""
    wanted = body.wanted()
    wanted.check()
    uploads = Uploads(store, quota=settings.minitik_storage_bytes_per_user)
    if (before := once.replay(transaction, body)) is not None:
        return UploadView.of(uploads.resume(transaction, caller.user_id, before["uploadId"]))
    begun = uploads.begin(transaction, caller.user_id, wanted)
    created = {"contentId": begun.content_id, "uploadId": begun.upload_id}
    once.keep(transaction, body, status=201, created=created)
    return UploadView.of(begun)


@router.get("/upload/{upload_id}/resume", responses=problems(404, 409))
def resume_upload(
    upload_id: str, caller: Writer, store: StoreDep, transaction: SessionDep
) -> ResumedUploadView:
    """Go on with an upload: what has arrived, and fresh URLs for the rest."""
    return ResumedUploadView.of(Uploads(store).resume(transaction, caller.user_id, upload_id))


@router.put("/upload/{upload_id}/chunk/{part_number}", responses=problems(404, 409))
def confirm_part(
    upload_id: str,
    part_number: int,
    caller: Writer,
    store: StoreDep,
    transaction: SessionDep,
    body: ConfirmPart | None = None,
) -> ConfirmedPartView:
    """Note that a part was sent to its URL."""
    etag = body.etag if body is not None else None
    upload = Uploads(store).confirm_part(transaction, caller.user_id, upload_id, part_number, etag)
    return ConfirmedPartView(
        content_id=upload.content_id,
        part_number=part_number,
        confirmed_parts=[part.number for part in upload.parts],
        total_chunks=upload.total_chunks,
    )


@router.post("/upload/{upload_id}/complete", responses=problems(404, 409, 422))
async def complete_upload(
    upload_id: str,
    caller: Writer,
    store: StoreDep,
    engine: EngineDep,
    state: StateDep,
    body: CompleteUpload | None = None,
) -> CompletedUploadView:
    """Assemble the parts, probe the video, and answer with each platform's verdict."""
    own_sessions = sessionmaker(engine, expire_on_commit=False)
    etags = {part.part_number: part.etag for part in body.parts} if body is not None else {}

    def complete() -> CompletedUploadView:
        done = Completion(own_sessions, store).complete(caller.user_id, upload_id, etags)
        return CompletedUploadView.with_verdicts(done.content, done.verdicts, store)

    return await to_thread.run_sync(complete, limiter=state.slow_work)


@router.delete("/upload/{upload_id}/abort", responses=problems(404, 409))
def abort_upload(
    upload_id: str, caller: Writer, store: StoreDep, transaction: SessionDep
) -> AbortedUploadView:
    """Drop an upload, its parts and its draft."""
    upload = Uploads(store).abort(transaction, caller.user_id, upload_id)
    return AbortedUploadView(
        content_id=upload.content_id, upload_id=upload.id, status=upload.status
    )

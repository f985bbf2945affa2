"""`POST /api/content/direct`: a small video in one request."""

import hashlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any, Final

from anyio import to_thread
from fastapi import Depends, Query, Request
from pydantic import BaseModel
from sqlalchemy.orm import Session, sessionmaker
from starlette.exceptions import HTTPException

from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.dependencies import EngineDep, SettingsDep, StateDep, StoreDep
from minitik_dagster.api.idempotency import Once, OnceDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.content import CompletedUploadView
from minitik_dagster.errors import RuleRefusedError
from minitik_dagster.media.direct import DIRECT_MAX_BYTES, DirectUploads, has_ended
from minitik_dagster.media.facts import MIME_TYPES
from minitik_dagster.media.new_upload import NewUpload
from minitik_dagster.media.uploads import OpenUpload

router = Router(prefix="/api/content", tags=["content"])

Writer = Annotated[Caller, Depends(require_scope("content:write"))]
_TOO_LARGE: Final = (
    f"a direct upload may have {DIRECT_MAX_BYTES} bytes; "
    "POST /api/content takes larger ones in parts"
)
_IN_MEMORY_BYTES: Final = 1024 * 1024
_FILE: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
_BODY: Final = {"requestBody": {"required": True, "content": dict.fromkeys(MIME_TYPES, _FILE)}}


class _Announced(BaseModel):
    """What makes two requests the same."""

    title: str
    filename: str
    description: str | None
    mime_type: str
    sha256: str


async def small_body(request: Request, _caller: Writer) -> AsyncIterator[IO[bytes]]:
    """Read the file, of somebody who may write; 413 as soon as it is too large.

    It waits for its turn on disk: many at once must not fill the memory.
    """
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > DIRECT_MAX_BYTES:
        raise HTTPException(413, _TOO_LARGE)
    with SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        async for piece in request.stream():
            file.write(piece)
            if file.tell() > DIRECT_MAX_BYTES:
                raise HTTPException(413, _TOO_LARGE)
        yield file


@router.post(
    "/direct",
    status_code=201,
    responses=problems(409, 413, 422),
    openapi_extra=_BODY,
)
async def upload_directly(
    request: Request,
    caller: Writer,
    file: Annotated[IO[bytes], Depends(small_body)],
    state: StateDep,
    store: StoreDep,
    engine: EngineDep,
    settings: SettingsDep,
    once: OnceDep,
    title: Annotated[str, Query(description="Shown in the library; the caption if no other.")],
    filename: Annotated[str, Query(description="Its ending is replaced by the true type's.")],
    description: Annotated[str | None, Query()] = None,
) -> CompletedUploadView:
    """Upload a file of 16 MiB at most as the request's body, and have it checked at once."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    new = NewUpload(title, filename, kind, file.tell(), description)
    new.check()
    sessions = sessionmaker(engine, expire_on_commit=False)
    uploads = DirectUploads(sessions, store, quota=settings.minitik_storage_bytes_per_user)

    def upload() -> CompletedUploadView:
        file.seek(0)
        data = file.read()
        announced = _Announced(
            title=title,
            filename=filename,
            description=description,
            mime_type=kind,
            sha256=hashlib.sha256(data).hexdigest(),
        )
        try:
            done = uploads.upload(caller.user_id, new, data, partial(_begun, once, announced))
        except RuleRefusedError:
            with sessions.begin() as session:  # nothing was made: another file may have this key
                once.forget(session, announced)
            raise
        return CompletedUploadView.with_verdicts(done.content, done.verdicts, store)

    return await to_thread.run_sync(upload, limiter=state.slow_work)


def _begun(
    once: Once, announced: _Announced, session: Session, begin: Callable[[], OpenUpload]
) -> str:
    """Begin an upload, unless the same request has one that has not ended."""
    before = once.replay(session, announced)
    if before is not None and not has_ended(session, before["uploadId"]):
        return str(before["uploadId"])
    if before is not None:
        once.forget(session, announced)
    upload = begin()
    once.keep(session, announced, status=201, created={"uploadId": upload.upload_id})
    return upload.upload_id

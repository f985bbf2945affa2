"""`POST /api/content/direct`: a small video in one request."""

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel
from sqlalchemy.orm import Session, sessionmaker
from starlette.exceptions import HTTPException

from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.dependencies import EngineDep, SettingsDep, StoreDep
from minitik_dagster.api.idempotency import OnceDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.schemas.content import CompletedUploadView
from minitik_dagster.errors import RuleRefusedError
from minitik_dagster.media.direct import DIRECT_MAX_BYTES, DirectUploads, has_ended
from minitik_dagster.media.facts import MIME_TYPES
from minitik_dagster.media.new_upload import NewUpload
from minitik_dagster.media.uploads import OpenUpload

router = APIRouter(prefix="/api/content", tags=["content"])

Writer = Annotated[Caller, Depends(require_scope("content:write"))]
_TOO_LARGE: Final = (
    f"a direct upload may have {DIRECT_MAX_BYTES} bytes; "
    "POST /api/content takes larger ones in parts"
)
_FILE: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
_BODY: Final = {"requestBody": {"required": True, "content": dict.fromkeys(MIME_TYPES, _FILE)}}


class _Announced(BaseModel):
    """What makes two requests the same."""

    title: str
    filename: str
    description: str | None
    mime_type: str
    sha256: str


async def small_body(request: Request, _caller: Writer) -> bytes:
    """Read the file, of somebody who may write; 413 as soon as it is too large."""
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > DIRECT_MAX_BYTES:
        raise HTTPException(413, _TOO_LARGE)
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > DIRECT_MAX_BYTES:
            raise HTTPException(413, _TOO_LARGE)
    return bytes(data)


@router.post(
    "/direct",
    status_code=201,
    responses=problems(409, 413, 422),
    openapi_extra=_BODY,
)
def upload_directly(
    request: Request,
    caller: Writer,
    data: Annotated[bytes, Depends(small_body)],
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
    new = NewUpload(title, filename, kind, len(data), description)
    new.check()
    digest = hashlib.sha256(data).hexdigest()
    announced = _Announced(
        title=title, filename=filename, description=description, mime_type=kind, sha256=digest
    )

    def begun(session: Session, begin: Callable[[], OpenUpload]) -> str:
        before = once.replay(session, announced)
        if before is not None and not has_ended(session, before["uploadId"]):
            return str(before["uploadId"])
        if before is not None:
            once.forget(session, announced)
        upload = begin()
        once.keep(session, announced, status=201, created={"uploadId": upload.upload_id})
        return upload.upload_id

    sessions = sessionmaker(engine, expire_on_commit=False)
    uploads = DirectUploads(sessions, store, quota=settings.minitik_storage_bytes_per_user)
    try:
        done = uploads.upload(caller.user_id, new, data, begun)
    except RuleRefusedError:
        with sessions.begin() as session:  # nothing was made: another file may come with this key
            once.forget(session, announced)
        raise
    return CompletedUploadView.with_verdicts(done.content, done.verdicts, store)

"""The parts of an upload: how large they are, and what the client told of them."""

import math
import re
from collections.abc import Iterable
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from minitik_dagster.clock import Clock
from minitik_dagster.db.tables import UploadPart, UploadSession
from minitik_dagster.errors import FieldProblem, InvalidInputError
from minitik_dagster.media.object_store import StoredPart

MIB: Final = 1024 * 1024
CHUNK_BYTES: Final = 8 * MIB  # S3's least is 5 MiB, except for the last part
MAX_PARTS: Final = 10_000
_ETAG = re.compile(r"[0-9A-Fa-f]{32}(-[0-9]{1,5})?")


def chunk_size_for(file_size: int) -> int:
    """Bytes per part: 8 MiB, or as many whole MiB as keep the upload within 10,000 parts."""
    least = math.ceil(file_size / MAX_PARTS / MIB) * MIB
    return max(CHUNK_BYTES, least)


def part_length(upload: UploadSession, number: int) -> int:
    """Bytes of part `number`: all are alike but the last."""
    if number < upload.total_chunks:
        return upload.chunk_size
    return upload.file_size - upload.chunk_size * (upload.total_chunks - 1)


def recorded_parts(session: Session, upload_id: str) -> tuple[StoredPart, ...]:
    """The parts the client told of, in order."""
    rows = session.scalars(
        select(UploadPart)
        .where(UploadPart.upload_session_id == upload_id)
        .order_by(UploadPart.part_number)
    )
    return tuple(StoredPart(row.part_number, row.etag or "", row.size) for row in rows)


def record_parts(
    session: Session, upload_id: str, parts: Iterable[StoredPart], clock: Clock
) -> None:
    """Write parts over what is there; an ETag once told is not forgotten."""
    for part in parts:
        statement = insert(UploadPart).values(
            upload_session_id=upload_id,
            part_number=part.number,
            etag=part.etag or None,
            size=part.size,
            confirmed_at=clock.now(),
        )
        new = statement.excluded
        changed = {"size": new.size, "confirmedAt": new.confirmedAt}
        if part.etag:
            changed["etag"] = new.etag
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["uploadSessionId", "partNumber"], set_=changed
            )
        )


def clean_etag(etag: str, field: str) -> str:
    """Return an ETag without quotes; InvalidInputError when it cannot be one."""
    text = etag.strip().removeprefix("W/").strip('"')
    if not _ETAG.fullmatch(text):
        raise InvalidInputError(
            FieldProblem(
                field,
                f"{etag[:80]!a} is not an ETag.",
                "Send the ETag header of the answer to the part's PUT, or leave it out.",
            )
        )
    return text.lower()

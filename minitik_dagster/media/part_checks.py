"""Whether the parts of an upload are all there, and the ones that were meant."""

from collections.abc import Mapping, Sequence
from typing import Final

from minitik_dagster.db.tables import UploadSession
from minitik_dagster.errors import (
    FieldProblem,
    InvalidInputError,
    RuleRefusedError,
)
from minitik_dagster.media.object_store import (
    StoredPart,
)
from minitik_dagster.media.parts import part_length

UPLOAD_AGAIN: Final = "Get fresh URLs with GET …/resume and send the part again."


def check_numbers(told: Mapping[int, str], upload: UploadSession) -> None:
    """Raise InvalidInputError where an ETag was told for a part that the upload does not have."""
    strange = [number for number in told if not 1 <= number <= upload.total_chunks]
    if strange:
        raise InvalidInputError(
            *[
                FieldProblem(
                    f"parts[{number}]",
                    f"The upload has no part {number}.",
                    f"Use 1 to {upload.total_chunks}.",
                )
                for number in strange
            ]
        )


def parts_as_listed(
    upload: UploadSession, known: Mapping[int, StoredPart], listed: Sequence[StoredPart]
) -> tuple[StoredPart, ...]:
    """Hold what the store lists against the plan and against what the client told.

    Raises RuleRefusedError, naming each part that is missing, of another size or another one.
    """
    problems, parts = [], []
    arrived = {part.number: part for part in listed}
    for number in range(1, upload.total_chunks + 1):
        part, told = arrived.get(number), known.get(number)
        length = part_length(upload, number)
        if part is None:
            problems.append(_missing(number))
        elif part.size != length:
            problems.append(
                FieldProblem(
                    f"parts[{number}]",
                    f"Part {number} has {part.size} bytes, {length} were announced.",
                    UPLOAD_AGAIN,
                )
            )
        elif told is not None and told.etag and told.etag != part.etag:
            problems.append(
                FieldProblem(
                    f"parts[{number}].etag",
                    f"Part {number}: ETag {told.etag} was told, the object store has {part.etag}.",
                    "Send the ETag of the part as it was last uploaded, or leave it out.",
                )
            )
        else:
            parts.append(part)
    if problems:
        raise RuleRefusedError(*problems)
    return tuple(parts)


def parts_as_told(upload: UploadSession, known: Mapping[int, StoredPart]) -> tuple[StoredPart, ...]:
    """Where the store cannot list, the client's ETags stand for the parts; the store compares them.

    Raises RuleRefusedError, naming each part that is missing or has no ETag.
    """
    problems, parts = [], []
    for number in range(1, upload.total_chunks + 1):
        part = known.get(number)
        if part is None:
            problems.append(_missing(number))
        elif not part.etag:
            problems.append(
                FieldProblem(
                    f"parts[{number}].etag",
                    f"Part {number} needs its ETag: this object store cannot list parts.",
                    f"PUT …/chunk/{number} with the ETag header of the part's answer.",
                )
            )
        else:
            parts.append(part)
    if problems:
        raise RuleRefusedError(*problems)
    return tuple(parts)


def _missing(number: int) -> FieldProblem:
    return FieldProblem(f"parts[{number}]", f"Part {number} has not been uploaded.", UPLOAD_AGAIN)

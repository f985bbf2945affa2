"""What a person announces before uploading, and which values are refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from minitik_dagster.errors import FieldProblem, InvalidInputError, RuleRefusedError
from minitik_dagster.media.facts import MIME_TYPES

MAX_FILE_BYTES: Final = 1024**3
TITLE_MAX_CHARACTERS: Final = 500
DESCRIPTION_MAX_CHARACTERS: Final = 5_000
FILENAME_MAX_CHARACTERS: Final = 1_000
_MAX_CHARACTERS: Final = {
    "title": TITLE_MAX_CHARACTERS,
    "description": DESCRIPTION_MAX_CHARACTERS,
    "filename": FILENAME_MAX_CHARACTERS,
}


@dataclass(frozen=True)
class NewUpload:
    """What a person wants to upload; `file_size` in bytes."""

    title: str
    filename: str
    mime_type: str
    file_size: int
    description: str | None = None

    def check(self) -> None:
        """Raise InvalidInputError or RuleRefusedError that names every bad field."""
        problems = [
            *text_problems("title", self.title),
            *text_problems("filename", self.filename),
            *text_problems("description", self.description or "-"),
        ]
        if self.mime_type not in MIME_TYPES:
            problems.append(
                FieldProblem(
                    "mimeType",
                    f"Files of type {self.mime_type[:80]!a} are not taken.",
                    f"Use one of {', '.join(MIME_TYPES)}.",
                )
            )
        if self.file_size <= 0:
            problems.append(
                FieldProblem(
                    "fileSize",
                    f"The file is empty ({self.file_size} bytes).",
                    "Choose a video file that has content.",
                )
            )
        if problems:
            raise InvalidInputError(*problems)
        if self.file_size > MAX_FILE_BYTES:
            raise RuleRefusedError(
                FieldProblem(
                    "fileSize",
                    f"The file has {self.file_size} bytes, more than {MAX_FILE_BYTES} (1 GiB).",
                    "Export it with a lower bitrate or make it shorter.",
                )
            )


def text_problems(field: str, text: str) -> Sequence[FieldProblem]:
    """Say what is wrong with a content's `title`, `filename` or `description`."""
    maximum = _MAX_CHARACTERS[field]
    problem, fix = "", ""
    allowed = "\n\r\t" if field == "description" else ""
    if not text.strip():
        problem, fix = f"{field} is empty.", "Give at least one character."
    elif len(text) > maximum:
        problem, fix = f"{field} has {len(text)} characters.", f"Use {maximum} at most."
    elif any(ord(char) < 32 and char not in allowed for char in text) and field != "filename":
        problem, fix = f"{field} holds control characters.", "Remove them."
    elif not _is_encodable(text):
        problem, fix = f"{field} holds half of a character.", "Send valid Unicode."
    return [FieldProblem(field, problem, fix)] if problem else []


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Changing what a content is called; two people who change it at once do not overwrite each other.

Posts that are scheduled keep the caption they were scheduled with: it was checked for their platform.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from minitik_dagster.clock import Clock, SystemClock, iso_z
from minitik_dagster.db.models import Content
from minitik_dagster.errors import FieldProblem, InvalidInputError, StaleVersionError
from minitik_dagster.media.library import get_content
from minitik_dagster.media.new_upload import text_problems


class _Unchanged:
    """Says that a field stays as it is: None is a value."""


UNCHANGED: Final = _Unchanged()


@dataclass(frozen=True)
class ContentChange:
    """What is to change; a description of None is taken away."""

    title: str | _Unchanged = UNCHANGED
    description: str | _Unchanged | None = UNCHANGED

    def check(self) -> None:
        """Raise InvalidInputError that names every bad field."""
        problems: list[FieldProblem] = []
        if isinstance(self.title, str):
            problems += text_problems("title", self.title)
        if isinstance(self.description, str) and self.description:
            problems += text_problems("description", self.description)
        if problems:
            raise InvalidInputError(*problems)


def version_of(content: Content) -> str:
    """Return what changes with each change of the row: the middle of an ETag."""
    facts = [
        content.id,
        content.title,
        content.description,
        content.status.value,
        content.file_path,
        content.error_code,
        iso_z(content.updated_at),
        content.scheduled_at and iso_z(content.scheduled_at),
        content.published_at and iso_z(content.published_at),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def require_version(content: Content, versions: frozenset[str] | None) -> None:
    """Raise StaleVersionError unless the content is at one of these versions; None = at any."""
    if versions is not None and version_of(content) not in versions:
        raise StaleVersionError(
            "the content has changed since it was read; read it again and send its ETag as If-Match"
        )


def change_content(
    session: Session,
    user_id: str,
    content_id: str,
    change: ContentChange,
    *,
    versions: frozenset[str] | None = None,
    clock: Clock | None = None,
) -> Content:
    """Change a content of the user's in the caller's transaction and return it.

    Raises InvalidInputError, NotFoundError, and StaleVersionError for another version than asked for.
    """
    change.check()
    content = get_content(session, user_id, content_id, lock=True)
    require_version(content, versions)
    before = (content.title, content.description)
    if isinstance(change.title, str):
        content.title = change.title.strip()
    if not isinstance(change.description, _Unchanged):
        content.description = change.description or None
    if (content.title, content.description) != before:
        content.updated_at = (clock or SystemClock()).now()
        session.flush()
        session.refresh(content)  # as stored, in whole milliseconds: what its version is made of
    return content

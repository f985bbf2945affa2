"""Dead letters: every final failure with its whole story, listed, shown, and set aside.

A letter is open until it is replayed (publishing.replay), discarded, or found live after all.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, text

from minitik_dagster.db.types import Platform, from_db, to_db
from minitik_dagster.errors import (
    FieldProblem,
    InvalidInputError,
    NotFoundError,
    StateConflictError,
)
from minitik_dagster.ids import new_id
from minitik_dagster.publishing import dead_letter_queries, review_queries

LIST_LIMIT = 200


def platform_named(name: str) -> Platform:
    """Return the platform of that name, in any case; InvalidInputError for another."""
    if name.upper() not in Platform.__members__:
        names = ", ".join(item.value.lower() for item in Platform)
        raise InvalidInputError(FieldProblem("platform", f"{name!r} is unknown", f"one of {names}"))
    return Platform(name.upper())


@dataclass(frozen=True)
class Selection:
    """Which letters are meant: each given part narrows. `ids` are letters' or publications' ids.

    `user_id` None is an operator, who sees everybody's; `since` and `until` (exclusive) are about
    when the post failed. Without ids only open letters are meant, unless `resolved` asks for all.
    """

    ids: Sequence[str] = ()
    code: str | None = None
    platform: Platform | None = None
    since: datetime | None = None
    until: datetime | None = None
    user_id: str | None = None
    resolved: bool = False

    @property
    def names_something(self) -> bool:
        """Whether anything narrows the selection besides whose letters they are."""
        return bool(self.ids or self.code or self.platform or self.since or self.until)

    def parameters(self, limit: int) -> dict[str, Any]:
        """The values of the queries' common conditions."""
        return {
            "ids": list(self.ids) or None,
            "code": self.code,
            "platform": self.platform.value if self.platform else None,
            "since": to_db(self.since) if self.since else None,
            "until": to_db(self.until) if self.until else None,
            "user_id": self.user_id,
            "all": self.resolved or bool(self.ids),
            "limit": limit,
        }


@dataclass(frozen=True)
class DeadLetter:
    """One final failure. `story` is the ledger as it stood then, oldest step first."""

    id: str
    publication_id: str
    content_id: str
    title: str
    account_id: str
    username: str | None
    platform: Platform
    code: str
    reason: str
    fix: str
    stage: str
    due_at: datetime | None
    created_at: datetime
    resolved_at: datetime | None
    resolution: str | None
    story: list[dict[str, Any]]


def list_dead_letters(
    connection: Connection, selection: Selection, *, limit: int = 100
) -> list[DeadLetter]:
    """Return letters, the newest first, at most `limit` (and LIST_LIMIT)."""
    values = selection.parameters(min(limit, LIST_LIMIT))
    rows = connection.execute(text(dead_letter_queries.LIST), values).mappings()
    return [_letter(row) for row in rows]


def get_dead_letter(
    connection: Connection, letter_id: str, *, user_id: str | None = None
) -> DeadLetter:
    """Return one letter; NotFoundError alike for unknown and foreign ids."""
    found = list_dead_letters(connection, Selection(ids=(letter_id,), user_id=user_id), limit=1)
    if not found:
        raise NotFoundError(f"no dead letter {letter_id[:64]!r}; see: minitik dead-letters list")
    return found[0]


def discard(connection: Connection, letter_id: str, *, actor: str) -> DeadLetter:
    """Set a letter aside for good in the caller's transaction; its post stays failed.

    Raises NotFoundError, and StateConflictError when it has been resolved already.
    """
    letter = get_dead_letter(connection, letter_id)
    values = {"publication_id": letter.publication_id, "resolution": "discarded"}
    if (
        letter.resolved_at is not None
        or not connection.execute(text(dead_letter_queries.RESOLVE), values).rowcount
    ):
        raise StateConflictError(
            f"dead letter {letter.id} is {letter.resolution or 'resolved'} already",
            state=letter.resolution or "resolved",
        )
    audit(connection, "dead_letter.discard", letter.publication_id, actor, {"letter": letter.id})
    return letter


def audit(
    connection: Connection, action: str, subject: str, actor: str, detail: dict[str, Any]
) -> None:
    """Write who did what to a publication's dead letter."""
    connection.execute(
        text(review_queries.AUDIT),
        {
            "row_id": new_id(),
            "actor": actor,
            "action": action,
            "id": subject,
            "detail": json.dumps(detail),
        },
    )


def _letter(row: RowMapping) -> DeadLetter:
    return DeadLetter(
        **{
            **row,
            "platform": Platform(row["platform"]),
            "due_at": from_db(row["due_at"]) if row["due_at"] else None,
            "created_at": from_db(row["created_at"]),
            "resolved_at": from_db(row["resolved_at"]) if row["resolved_at"] else None,
        }
    )

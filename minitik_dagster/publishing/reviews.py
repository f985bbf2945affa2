"""What no platform can answer: listed for a person, and resolved by a person's word."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from minitik_dagster.db.types import from_db
from minitik_dagster.errors import NotFoundError, StateConflictError
from minitik_dagster.ids import new_id
from minitik_dagster.notifications.events import tell_changes, tell_published
from minitik_dagster.publishing import review_queries
from minitik_dagster.scheduling.rollup import ROLL_UP


@dataclass(frozen=True)
class Review:
    """A publication that waits for a person's word."""

    publication_id: str
    platform: str
    account_id: str
    username: str | None
    content_id: str
    due_at: datetime
    reason: str


def list_reviews(connection: Connection) -> list[Review]:
    """Return what waits for a decision, oldest due first."""
    return [
        Review(
            publication_id=row["id"],
            platform=row["platform"].lower(),
            account_id=row["account_id"],
            username=row["username"],
            content_id=row["content_id"],
            due_at=from_db(row["due_at"]),
            reason=row["error"] or "",
        )
        for row in connection.execute(text(review_queries.LIST_REVIEWS)).mappings()
    ]


def resolve(
    connection: Connection, publication_id: str, *, published_as: str | None, actor: str
) -> None:
    """Settle a review in the caller's transaction.

    `published_as` is the post's id on the platform when it is public; None when the person has seen
    that it is not: then it goes out again with a new handle, if maxLateness still allows.
    Raises NotFoundError, and StateConflictError when it is not in review or the id is taken.
    """
    row = (
        connection.execute(text(review_queries.LOCK_PUBLICATION), {"id": publication_id})
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise NotFoundError(f"no publication {publication_id}")
    if row["stage"] != "review":
        raise StateConflictError(
            f"publication {publication_id} is {row['stage']}, not in review", state=row["stage"]
        )
    values: dict[str, Any] = {"id": publication_id, "post_id": published_as}
    if published_as is None:
        connection.execute(text(review_queries.SEND_AGAIN), values)
        action = "review.not_published"
    else:
        bound = connection.execute(
            text(review_queries.BIND_BY_OPERATOR),
            values
            | {
                "row_id": new_id(),
                "account_id": row["account_id"],
                "platform": row["platform"],
            },
        )
        if bound.first() is None:
            raise StateConflictError(
                f"post {published_as} already belongs to another publication of this account",
                state="review",
            )
        connection.execute(text(review_queries.DECLARE_LIVE), values)
        action = "review.published"
    connection.execute(
        text(review_queries.AUDIT),
        {
            "row_id": new_id(),
            "actor": actor,
            "action": action,
            "id": publication_id,
            "detail": "{}",
        },
    )
    tell_changes(connection, [publication_id])
    if published_as is not None:
        tell_published(connection, publication_id)
    ids = {"content_id": row["content_id"], "job_id": row["job_id"]}
    for statement in ROLL_UP:
        connection.execute(text(statement), ids)

"""Erasing a person: what they wrote and are called goes, a tombstone and the history's ids stay.

One transaction cancels what waits, disconnects the accounts and overwrites the person; it is refused
while one of their posts is being sent or settled. The accounts' tokens, sealed, outlive it until the
dispatchers have withdrawn our access with them (publishing/leaving.py), a day at most. The media in the
object store goes after that commit, object by object: what could not be deleted stays named in its row,
and erasing again goes on there.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.errors import MinitikError, NotFoundError, StateConflictError
from minitik_dagster.ids import new_id
from minitik_dagster.publishing import erasure_queries as queries
from minitik_dagster.publishing.disconnect import disconnect
from minitik_dagster.scheduling.changes import cancel


@dataclass(frozen=True)
class Erasure:
    """What an erasure takes away: how many of each; `erased_before` when only media is left to do."""

    user_id: str
    accounts: int
    posts_cancelled: int
    contents: int
    sessions: int
    keys: int
    push_subscriptions: int
    media: int
    erased_before: bool


def plan_erasure(session: Session, user_id: str) -> Erasure:
    """Return what `erase` would take away; NotFoundError for an unknown person."""
    row = session.execute(text(queries.LOCK_USER), {"user_id": user_id}).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"no user {user_id[:64]!r}")
    counts = session.execute(text(queries.COUNTS), {"user_id": user_id}).mappings().one()
    media = session.execute(text(queries.MEDIA), {"user_id": user_id}).all()
    return Erasure(
        user_id=user_id, media=len(media), erased_before=row["deleted_at"] is not None, **counts
    )


def erase(session: Session, user_id: str, *, actor: str) -> Erasure:
    """Erase a person in the caller's transaction; one who is erased already is left as they are.

    Raises NotFoundError, and StateConflictError, with nothing changed, while one of their posts is being
    sent, settled or reviewed, or waits in the old system's queue.
    """
    planned = plan_erasure(session, user_id)
    if planned.erased_before:
        return planned
    values = {"user_id": user_id}
    if session.execute(text(queries.OLD_JOBS), values).scalar_one():
        raise StateConflictError(
            "posts of this person wait in the old system's queue; run: minitik adopt",
            state="legacy",
        )
    email = session.execute(text(queries.LOCK_USER), values).mappings().one()["email"]
    for job_id in session.execute(text(queries.OPEN_JOBS), values).scalars().all():
        cancel(session, None, job_id)
    for account_id in session.execute(text(queries.ACCOUNTS), values).scalars().all():
        disconnect(session, account_id, posts="cancel", actor=actor)
    for statement in queries.ERASE:
        session.execute(text(statement), {"email": email, **values})
    session.execute(
        text(queries.AUDIT),
        {"row_id": new_id(), "actor": actor, "detail": json.dumps(vars(planned)), **values},
    )
    session.expire_all()
    return planned


def delete_media(engine: Engine, user_id: str, delete: Callable[[str], None]) -> tuple[str, ...]:
    """Delete an erased person's objects with `delete`; return the keys that could not be deleted.

    Safe to repeat. Raises StateConflictError for somebody who is not erased.
    """
    with Session(engine) as session, session.begin():
        if not plan_erasure(session, user_id).erased_before:
            raise StateConflictError(f"user {user_id} is not erased", state="present")
        found = session.execute(text(queries.MEDIA), {"user_id": user_id}).all()
    left = []
    for content_id, key in found:
        try:
            delete(key)
        except MinitikError:
            left.append(key)
            continue
        with Session(engine) as session, session.begin():
            for statement in queries.FORGET_MEDIA:
                session.execute(text(statement), {"content_id": content_id, "key": key})
    return tuple(left)

"""Posts held for their account: released when it is connected again, unless too late by then."""

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.db.types import from_db
from minitik_dagster.errors import NotFoundError, StateConflictError
from minitik_dagster.ids import new_id
from minitik_dagster.publishing import pause_queries, review_queries
from minitik_dagster.scheduling.schedule import DEFAULT_MAX_LATENESS

_ACCOUNT = "SELECT status FROM accounts WHERE id = :account_id FOR SHARE"


@dataclass(frozen=True)
class Released:
    """Publications that go on, and those that stay held because their time has passed."""

    released: tuple[str, ...]
    too_late: tuple[str, ...]


@dataclass(frozen=True)
class HeldPost:
    """A held publication; `too_late` when it is past its maxLateness and will not be released."""

    id: str
    content_id: str
    due_at: datetime
    too_late: bool


def held_posts(session: Session, account_id: str) -> list[HeldPost]:
    """Return what `release_held` would look at, the earliest first; changes nothing."""
    values = {
        "account_id": account_id,
        "default_lateness": DEFAULT_MAX_LATENESS.total_seconds(),
    }
    return [
        HeldPost(row["id"], row["content_id"], from_db(row["due_at"]), row["too_late"])
        for row in session.execute(text(pause_queries.HELD), values).mappings()
    ]


def release_held(session: Session, account_id: str, *, actor: str) -> Released:
    """Move the account's held posts back to `scheduled` in the caller's transaction.

    Those later than their maxLateness stay held: their owner moves or cancels them. Raises
    NotFoundError, and StateConflictError while the account is not connected. Safe to repeat.
    """
    status = session.execute(text(_ACCOUNT), {"account_id": account_id}).scalar_one_or_none()
    if status is None:
        raise NotFoundError(f"no account {account_id[:64]!r}; see: minitik accounts list")
    if status != "CONNECTED":
        raise StateConflictError(
            f"account {account_id} is {status}; connect it again first", state=status
        )
    values = {
        "account_id": account_id,
        "default_lateness": DEFAULT_MAX_LATENESS.total_seconds(),
    }
    rows = session.execute(text(pause_queries.RELEASE_HELD), values).mappings().all()
    done = Released(
        released=tuple(row["id"] for row in rows if not row["too_late"]),
        too_late=tuple(row["id"] for row in rows if row["too_late"]),
    )
    if done.released:
        session.execute(
            text(review_queries.AUDIT),
            {
                "row_id": new_id(),
                "actor": actor,
                "action": "account.release",
                "id": account_id,
                "detail": json.dumps({"released": len(done.released)}),
            },
        )
        session.execute(text(pause_queries.WAKE))
    return done

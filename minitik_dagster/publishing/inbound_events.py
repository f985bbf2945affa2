"""TikTok's own events: each is stored once, and comes true in the transaction that stores it.

An event is a hint. `authorization.removed` is believed, unless a token was issued after it; what is said
of a post makes us ask about it at once, and the platform's answer decides (engine.md R7).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.token_queries import WITHDRAW
from minitik_dagster.accounts.withdrawals import withdrawal
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import RevokedError
from minitik_dagster.ids import new_id
from minitik_dagster.platforms.tiktok_events import (
    AUTHORIZATION_REMOVED,
    POSTING,
    TikTokEvent,
    require_recent,
)
from minitik_dagster.publishing import inbound_queries as queries

# Longer than a delivery may be repeated (platforms/tiktok_events.py SIGNED_WITHIN): until then the
# stored digest keeps a repeated one from coming true again.
KEPT: Final = timedelta(days=7)
_GONE: Final = "post.publish.no_longer_"
_SECOND: Final = timedelta(seconds=1)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Received:
    """What became of a delivery; `outcome` in plain words, `duplicate` when it had come before."""

    duplicate: bool
    outcome: str


def receive(session: Session, event: TikTokEvent, *, signed: datetime, client_key: str) -> Received:
    """Store an event and let it come true, in the caller's transaction; a duplicate changes nothing.

    `client_key` is our app's. Raises SignatureRefusedError when it was signed too long ago.
    """
    session.execute(text(queries.SHORT_WAIT))
    require_recent(signed, from_db(session.execute(text(queries.CLOCK)).scalar_one()))
    values = {
        "row_id": new_id(),
        "event": event.name,
        "digest": event.digest,
        "payload": event.payload,
    }
    if session.execute(text(queries.STORE), values).first() is None:
        return Received(duplicate=True, outcome="a duplicate")
    outcome = _come_true(session, event, client_key)
    session.execute(text(queries.HANDLED), {"row_id": values["row_id"], "outcome": outcome})
    _log.info("tiktok.event", event_name=event.name, outcome=outcome)
    return Received(duplicate=False, outcome=outcome)


def forget_old(session: Session) -> int:
    """Delete events received more than KEPT ago; return how many."""
    done = session.execute(text(queries.FORGET + " RETURNING id"), {"kept": KEPT})
    return len(done.all())


def _come_true(session: Session, event: TikTokEvent, client_key: str) -> str:
    if event.client_key != client_key:
        return "of another app of ours"
    if event.name == AUTHORIZATION_REMOVED:
        return _withdraw(session, event)
    if event.name.startswith(POSTING):
        return _hasten(session, event)
    return "not an event that changes anything here"


def _withdraw(session: Session, event: TikTokEvent) -> str:
    """A token that was issued after the event shows that access was given again since."""
    rows = session.execute(text(queries.ACCOUNTS_OF), {"open_id": event.open_id}).mappings().all()
    error = RevokedError(event.removal_reason, code=AUTHORIZATION_REMOVED)
    withdrawn = stale = 0
    for row in rows:
        granted_at = row["granted_at"]
        # `create_time` is in whole seconds: within the token's own second the event counts.
        if granted_at is not None and event.happened_at + _SECOND <= from_db(granted_at):
            stale += 1
        elif row["connected"]:
            session.execute(text(WITHDRAW), withdrawal(row["id"], error))
            withdrawn += 1
    if withdrawn:
        return f"accounts withdrawn: {withdrawn}"
    if stale:
        return "older than the account's token"
    return "the account is not connected" if rows else "no such account"


def _hasten(session: Session, event: TikTokEvent) -> str:
    if event.publish_id is None:
        return "names no publish_id"
    found = (
        session.execute(
            text(queries.HASTEN),
            {
                "publish_id": event.publish_id,
                "open_id": event.open_id,
                "gone": event.name.startswith(_GONE),
            },
        )
        .scalars()
        .all()
    )
    if not found:
        return "no post waits for it"
    session.execute(text(queries.WAKE), [{"id": publication_id} for publication_id in found])
    return f"posts asked about at once: {len(found)}"

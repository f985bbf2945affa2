"""What happened, told to programs: the types, and how a transaction of the API's writes them.

`publication.changed` is for the streams of `GET /api/events` only; webhooks may ask for the others.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from minitik_dagster.notifications import event_queries as queries
from minitik_dagster.notifications.notices import ACCOUNT_DISCONNECTED

PUBLICATION_CHANGED: Final = "publication.changed"
PUBLICATION_PUBLISHED: Final = "publication.published"
PUBLICATION_FAILED: Final = "publication.failed"
PUBLICATION_PARTIAL: Final = "publication.partial"
CONTENT_READY: Final = "content.ready"
WEBHOOK_TYPES: Final = (
    PUBLICATION_PUBLISHED,
    PUBLICATION_FAILED,
    PUBLICATION_PARTIAL,
    ACCOUNT_DISCONNECTED,
    CONTENT_READY,
)
STREAM_TYPES: Final = (PUBLICATION_CHANGED, *WEBHOOK_TYPES)
_HANDFUL: Final = 5_000
_TELL_CHANGES: Final = text(queries.TELL_CHANGES)
_WAKE: Final = text(queries.WAKE)


def tell(session: Session, user_id: str, kind: str, **data: Any) -> None:
    """Write one event in the caller's transaction; `data` is what programs are told."""
    values = {"user_id": user_id, "type": kind, "data": json.dumps(data)}
    session.execute(text(queries.TELL), values)
    session.execute(_WAKE)


def tell_changes(session: Session | Connection, publication_ids: Iterable[str]) -> None:
    """Write where these publications stand now, in the caller's transaction (flushed before)."""
    ids = sorted(publication_ids)
    if ids:
        session.execute(_TELL_CHANGES, {"ids": ids})
        session.execute(_WAKE)


def tell_published(connection: Connection, publication_id: str) -> None:
    """Write that a person has seen it live, in the transaction that says so."""
    connection.execute(text(queries.TELL_PUBLISHED), {"id": publication_id})


def forget_events(session: Session) -> int:
    """Delete a handful of what nobody asks for any more; return how many rows went.

    Events after a day, deliveries with their attempts 30 days after their end.
    """
    gone = 0
    for statement in (queries.FORGET_EVENTS, queries.FORGET_DELIVERIES):
        done = session.execute(text(statement + " RETURNING 1"), {"limit": _HANDFUL})
        gone += len(done.all())
    return gone

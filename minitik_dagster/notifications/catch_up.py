"""Published posts of those who are told of them by e-mail: queued from `events`, beside the engine.

A subscribed browser's notice is written by the engine itself, under the same id: an event has one notice.
"""

from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from minitik_dagster.notifications.event_queries import NOW

# Since the wishes were changed last: what happened before was told by those before (preferences.py).
_QUEUE: Final = text(
    f"""
    INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
    SELECT 'event:' || e.seq, e.type, e.data || jsonb_build_object('userId', e."userId"), {NOW}, 0,
        {NOW}
    FROM notification_preferences n JOIN events e ON e."userId" = n."userId"
    WHERE (CAST(:user_id AS text) IS NULL OR n."userId" = :user_id)
        AND n.choices #>> '{{content_published,email}}' = 'true'
        AND e.type = 'publication.published' AND e.at >= n."updatedAt"
        AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.id = 'event:' || e.seq)
    ON CONFLICT (id) DO NOTHING RETURNING id
    """  # noqa: S608 - constants
)


def queue_published(connection: Session | Connection, user_id: str | None = None) -> int:
    """Queue what was published and is wanted by e-mail (of one person); return how many were new."""
    return len(connection.execute(_QUEUE, {"user_id": user_id}).all())

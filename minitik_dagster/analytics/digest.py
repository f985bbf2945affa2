"""What a day has brought its people: one notice per person and day, once the day has ended."""

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, text

from minitik_dagster.analytics.increases import summed
from minitik_dagster.analytics.store import Document
from minitik_dagster.notifications.event_queries import NOW
from minitik_dagster.notifications.kinds import Kind, wanted
from minitik_dagster.notifications.notices import ANALYTICS_UPDATE

_TOLD: Final = ("views", "likes", "comments", "shares")
_QUEUE: Final = text(
    f"""
    INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
    SELECT :row_id, '{ANALYTICS_UPDATE}', CAST(:payload AS jsonb), {NOW}, 0, {NOW}
    FROM users u WHERE u.id = :user_id AND u."deletedAt" IS NULL
        AND {wanted(Kind.ANALYTICS_UPDATE, "u.id")}
    ON CONFLICT (id) DO NOTHING RETURNING id
    """  # noqa: S608 - constants
)


def is_news(day: date, now: datetime) -> bool:
    """Whether the day is the one that ended last: an older one's numbers are rolled up again untold."""
    return day == (now - timedelta(days=1)).date()


def tell_day(connection: Connection, day: date, documents: Iterable[Document]) -> int:
    """Queue the notices of one day's rollup; return how many were new.

    A person whose posts have gained nothing, or of whom nothing is known, is told nothing.
    """
    by_user: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        by_user[document["userId"]].append(document["totals"])
    told = 0
    for user_id, totals in sorted(by_user.items()):
        gained = {name: summed(total.get(name) for total in totals) for name in _TOLD}
        if not any(gained.values()):
            continue
        payload = {"userId": user_id, "day": f"{day}", **gained}
        values = {
            "row_id": f"day:{user_id}:{day}",
            "user_id": user_id,
            "payload": json.dumps(payload),
        }
        told += connection.execute(_QUEUE, values).first() is not None
    return told

"""A person's own refresh: all their live posts are read now, and today's rollup follows.

The reading's slot is the present hour, whether or not it is on the post's ladder: a rung of this hour is
then taken already.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from minitik_dagster.accounts.attempts import use_attempt
from minitik_dagster.analytics.cadence import LADDER
from minitik_dagster.analytics.days import day_of, end_of, start_of
from minitik_dagster.analytics.live_posts import LivePost, database_now, live_posts
from minitik_dagster.analytics.names import DAILY, USER_DAILY
from minitik_dagster.analytics.reading import snapshots_of
from minitik_dagster.analytics.readings import Series
from minitik_dagster.analytics.rollup import account_day, as_known, post_day, readings_of
from minitik_dagster.analytics.snapshots import SnapshotReport
from minitik_dagster.analytics.store import AnalyticsStore, Document
from minitik_dagster.analytics.user_days import user_documents
from minitik_dagster.settings import Settings

EVERY: Final = timedelta(hours=1)
_RUN_FOR: Final = timedelta(seconds=20)
_KIND: Final = "analytics.refresh"
# The most posts that one refresh reads, the youngest first.
MOST_POSTS: Final = 500


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did, in posts."""

    read: int
    already: int
    failed: int
    left: int


def refresh(settings: Settings, engine: Engine, store: AnalyticsStore, user_id: str) -> Refreshed:
    """Read the person's posts now, for 20 s at most.

    Raises TooManyAttemptsError within an hour of the last one, DependencyDownError without MongoDB.
    """
    store.ensure()
    with Session(engine) as session, session.begin():
        use_attempt(session, _KIND, user_id, limit=1, window=EVERY)
    with engine.connect() as connection:
        now = database_now(connection)
        posts = live_posts(connection, user_id=user_id)
    report = asyncio.run(_read(settings, wanted_posts(posts, now), now))
    with engine.connect() as connection:
        now = database_now(connection)
    roll_up_today(store, posts, now)
    return Refreshed(report.read, report.already, report.failed, report.left)


def wanted_posts(posts: Sequence[LivePost], now: datetime) -> list[LivePost]:
    """Return the posts that are still read by their age, the youngest first, account by account."""
    oldest = now - timedelta(hours=LADDER[-1])
    live = [post for post in posts if post.series.live_at > oldest]
    youngest = sorted(live, key=lambda post: post.series.live_at, reverse=True)[:MOST_POSTS]
    return sorted(youngest, key=lambda post: (post.series.account_id, post.series.publication_id))


async def _read(settings: Settings, posts: Sequence[LivePost], now: datetime) -> SnapshotReport:
    slot = now.replace(minute=0, second=0, microsecond=0)
    async with snapshots_of(settings, run_for=_RUN_FOR) as snapshots:
        return await snapshots.run_for_posts(slot, posts)


def roll_up_today(store: AnalyticsStore, posts: Sequence[LivePost], now: datetime) -> None:
    """Put a person's new readings into today's rollup, where there is one: account by account."""
    day = day_of(now)
    series = [post.series for post in posts]
    readings = readings_of(store, series, opening=start_of(day), until=end_of(day))
    rows: dict[str, list[tuple[Series, Document]]] = defaultdict(list)
    for one in series:
        told = readings.get(one.publication_id, [])
        if any(start_of(day) < reading.timestamp for reading in told):
            rows[one.account_id].append((one, post_day(as_known(one, now), told, day)))
    accounts = [account_day(day, found) for found in rows.values()]
    for name, documents in ((DAILY, accounts), (USER_DAILY, user_documents(accounts))):
        for document in documents:
            store.replace_document(name, f"{day:%Y-%m-%d}", document)

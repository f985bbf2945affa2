"""What a day has brought is told once, to whom it may interest, when the day has ended."""

from datetime import UTC, date, datetime, timedelta

import pytest
from dagster import DagsterInstance

from minitik_dagster.analytics.digest import is_news, tell_day
from minitik_dagster.analytics.rollup import day_documents
from minitik_dagster.db.types import Platform
from minitik_dagster.definitions import defs
from tests.analytics.scene import AnalyticsScene


def _told(scene: AnalyticsScene) -> list[dict[str, object]]:
    rows = scene.run("SELECT payload FROM outbox WHERE kind = 'analytics.update'")
    return [row["payload"] for row in rows]


def _tell(scene: AnalyticsScene, day: date) -> int:
    with scene.engine.begin() as connection:
        documents = day_documents(scene.store, connection, day, now=datetime.now(UTC))
        return tell_day(connection, day, documents)


def test_a_person_is_told_yesterdays_gains_of_all_their_posts_once(scene: AnalyticsScene) -> None:
    """Their sum over two accounts; not today's, and nothing to whom no channel would bring it."""
    now = datetime.now(UTC)
    yesterday = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    for platform, views in ((Platform.TIKTOK, 70), (Platform.YOUTUBE, 30)):
        series = scene.post(scene.account(platform), live_at=yesterday - timedelta(days=20))
        before = yesterday - timedelta(hours=1)
        scene.reading(series, before, views=5, likes=1, comments=0, shares=0)
        during = yesterday + timedelta(hours=3)
        scene.reading(series, during, views=5 + views, likes=3, comments=0, shares=0)
    assert _tell(scene, yesterday.date()) == 0
    assert _told(scene) == [], "no browser is subscribed, and e-mail was not asked for"
    scene.run(
        'INSERT INTO notification_subscriptions (id, "userId", endpoint, p256dh, auth, "createdAt") '
        "VALUES ('n', :id, 'https://push.example.test/', 'p', 'a', now())",
        id=scene.user_id,
    )
    with DagsterInstance.ephemeral() as instance:
        defs.resolve_job_def("roll_up_metrics").execute_in_process(
            partition_key=f"{yesterday:%Y-%m-%d}", instance=instance
        )
    assert _tell(scene, yesterday.date()) == 0, "by the rollup it was told"
    [payload] = _told(scene)
    assert payload["day"] == f"{yesterday:%Y-%m-%d}"
    assert (payload["views"], payload["likes"], payload["comments"]) == (100, 4, 0)
    assert payload["userId"] == scene.user_id


@pytest.mark.parametrize(("days_ago", "news"), [(0, False), (1, True), (2, False)])
def test_only_the_day_that_ended_last_is_news(days_ago: int, news: bool) -> None:
    """A backfill tells nobody anything."""
    now = datetime(2026, 5, 5, 0, 10, tzinfo=UTC)
    assert is_news((now - timedelta(days=days_ago)).date(), now) is news

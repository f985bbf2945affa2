"""Documents of the old collector: no publication, no slot, 0 where nothing was known."""

from datetime import UTC, datetime, timedelta
from typing import Any

from minitik_dagster.analytics.content_detail import content_detail
from minitik_dagster.analytics.days import day_range
from minitik_dagster.analytics.names import READINGS
from minitik_dagster.analytics.readings import Series
from minitik_dagster.analytics.rollup import day_documents
from minitik_dagster.analytics.series_readings import readings_of_series
from minitik_dagster.db.types import Platform
from tests.analytics.scene import AnalyticsScene

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def old_document(series: Series, at: datetime, views: int, **metadata: str) -> dict[str, Any]:
    """A document as the old collector shaped it."""
    return {
        "timestamp": at,
        "metadata": {
            "contentId": series.content_id,
            "accountId": series.account_id,
            "platform": series.platform.value,
            "userId": series.user_id,
            "platformPostId": series.platform_post_id,
        }
        | metadata,
        "views": views, "likes": 1, "comments": 0, "shares": 0, "reach": 0, "impressions": 0,
        "engagementRate": 0,
    }  # fmt: skip


def test_its_documents_are_an_adopted_posts_first_readings(scene: AnalyticsScene) -> None:
    """Days before ours began have their increases; what is unknown stays so, 0 of reach is not a number."""
    account = scene.account(Platform.INSTAGRAM)
    post = scene.post(account, live_at=NOON - timedelta(days=40), adopted=True)
    ours = scene.post(account, live_at=NOON - timedelta(days=40))
    scene.store.database[READINGS].insert_many(
        [
            old_document(post, NOON - timedelta(days=2), 100),
            old_document(post, NOON - timedelta(days=1), 130),
            # Of a post that our engine published there can be none: it is nobody's.
            old_document(ours, NOON - timedelta(days=1), 7),
        ]
    )
    scene.reading(post, NOON, views=150, likes=3, comments=0, shares=0, reach=90)
    days = {}
    with scene.engine.connect() as connection:
        for n in (2, 1, 0):
            day = (NOON - timedelta(days=n)).date()
            [row] = day_documents(scene.store, connection, day, now=NOON)
            [entry] = row["posts"]
            assert entry["publicationId"] == post.publication_id
            days[n] = (entry["views"]["increase"], entry["views"]["total"], entry["reach"]["total"])
        span = day_range("7d", NOON)
        shown = content_detail(scene.store, connection, scene.user_id, post.content_id, span, NOON)
    assert days == {2: (None, 100, None), 1: (30, 130, None), 0: (20, 150, 90)}
    assert shown["increases"]["views"] == 50, "from the first reading on"
    assert shown["totals"]["views"] == 150


def test_a_document_that_fits_two_posts_is_read_by_its_platforms_id_or_not_at_all(
    scene: AnalyticsScene,
) -> None:
    """The same content twice on one account: the platform's id tells which, else nobody knows."""
    account, content = scene.account(Platform.TIKTOK), scene.content()
    live = NOON - timedelta(days=40)
    one, two = (
        scene.post(account, live_at=live, adopted=True, content_id=content) for _ in range(2)
    )
    scene.store.database[READINGS].insert_many(
        [
            old_document(one, NOON, 5),
            old_document(two, NOON, 6),
            old_document(one, NOON, 7, platformPostId=""),
            old_document(one, NOON, 8, platformPostId="another"),
        ]
    )
    found = readings_of_series(scene.store, [one, two])
    views = {reading.publication_id: reading.counters["views"] for reading in found}
    assert views == {one.publication_id: 5, two.publication_id: 6}
    assert len(list(readings_of_series(scene.store, [one]))) == 2, "alone, it is the only one"

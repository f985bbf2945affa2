"""One content's numbers: each of its posts, as it stands and day by day, from the readings."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, text

from minitik_dagster.analytics.cadence import next_due
from minitik_dagster.analytics.days import DayRange
from minitik_dagster.analytics.increases import counters_of, summed
from minitik_dagster.analytics.live_posts import LivePost, live_posts
from minitik_dagster.analytics.metrics import ADDITIVE, NAMES, engagement_rate
from minitik_dagster.analytics.readings import Reading
from minitik_dagster.analytics.rollup import as_known, readings_of
from minitik_dagster.analytics.store import AnalyticsStore
from minitik_dagster.clock import iso_z
from minitik_dagster.errors import NotFoundError

_CONTENT = text('SELECT title FROM contents WHERE id = :id AND "userId" = :user_id')


def content_detail(
    store: AnalyticsStore,
    connection: Connection,
    user_id: str,
    content_id: str,
    span: DayRange,
    now: datetime,
) -> dict[str, Any]:
    """Return the content's numbers as JSON holds them; NotFoundError where it is not the person's."""
    title = connection.execute(
        _CONTENT, {"id": content_id, "user_id": user_id}
    ).scalar_one_or_none()
    if title is None:
        raise NotFoundError(f"no content {content_id[:64]!r}")
    posts = live_posts(connection, content_ids=[content_id], user_id=user_id)
    readings = readings_of(
        store, [post.series for post in posts], opening=span.start, until=span.end
    )
    shown = [
        post_figures(post, readings.get(post.series.publication_id, []), span, now)
        for post in posts
    ]
    return {
        "contentId": content_id,
        "title": title,
        "range": span.name,
        "timezone": str(span.zone) if span.zone is not UTC else "UTC",
        "from": span.first.isoformat(),
        "to": span.last.isoformat(),
        "totals": {name: summed(one["totals"][name] for one in shown) for name in ADDITIVE},
        "increases": {name: summed(one["increases"][name] for one in shown) for name in ADDITIVE},
        "publications": shown,
    }


def post_figures(
    post: LivePost, readings: Sequence[Reading], span: DayRange, now: datetime
) -> dict[str, Any]:
    """Return one post's figures; pure."""
    series = post.series
    counters = counters_of(as_known(series, now), readings)
    captured = readings[-1].timestamp if readings else None
    totals = {name: readings[-1].counters.get(name) if readings else None for name in NAMES}
    following = next_due(series.live_at, now)
    return {
        "publicationId": series.publication_id,
        "accountId": series.account_id,
        "platform": series.platform.value,
        "platformPostId": series.platform_post_id or None,
        "liveAt": iso_z(series.live_at),
        "adopted": series.adopted,
        "capturedAt": None if captured is None else iso_z(captured),
        "lagSeconds": None if captured is None else int((now - captured).total_seconds()),
        "nextReadingAt": None if following is None or not post.connected else iso_z(following),
        "totals": totals,
        "engagementRate": engagement_rate(series.platform, totals),
        "increases": {
            name: counter.between(span.start, span.end) for name, counter in counters.items()
        },
        "series": [
            {
                "date": day.isoformat(),
                **{
                    name: {
                        "increase": (found := counter.day(day, span.zone)).increase,
                        "total": found.total,
                        "spanDays": found.span_days,
                        "corrected": found.corrected,
                    }
                    for name, counter in counters.items()
                },
            }
            for day in span.days
        ],
    }

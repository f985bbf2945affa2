"""A person's numbers over a range: sums, days, the range before, platforms, and the best contents.

Days in UTC come from the rollups; days in another zone are made from the readings themselves, so that
both are true, and reach back as far as readings are kept.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, text

from minitik_dagster.analytics.days import DayRange
from minitik_dagster.analytics.live_posts import accounts_of, live_posts
from minitik_dagster.analytics.metrics import ADDITIVE, ENGAGEMENTS, OFFERED
from minitik_dagster.analytics.names import DAILY
from minitik_dagster.analytics.rollup import summed, zone_days
from minitik_dagster.analytics.store import AnalyticsStore, Document
from minitik_dagster.clock import iso_z
from minitik_dagster.db.types import Platform

TOP_CONTENTS: Final = 5
_SUMS: Final = ("day", "accountId", "platform", "capturedAt", "totals")
_TITLES: Final = text('SELECT id, title FROM contents WHERE id = ANY(:ids) AND "userId" = :user_id')


def dashboard(
    store: AnalyticsStore, connection: Connection, user_id: str, span: DayRange, now: datetime
) -> dict[str, Any]:
    """Return the person's dashboard as JSON holds it; DependencyDownError without MongoDB."""
    before = span.before
    if span.zone is UTC:
        accounts = accounts_of(connection, user_id)
        present = store.documents(DAILY, [f"{day:%Y-%m-%d}" for day in span.days], accounts)
        earlier = store.documents(
            DAILY, [f"{day:%Y-%m-%d}" for day in before.days], accounts, _SUMS
        )
    else:
        series = [post.series for post in live_posts(connection, user_id=user_id)]
        days = zone_days(store, series, before.days + span.days, span.zone, now=now)
        present = [row for row in days if row["day"].date() >= span.first]
        earlier = [row for row in days if row["day"].date() < span.first]
    made = figures(present, earlier, span, now)
    ids = [content["contentId"] for content in made["topContents"]]
    titles = {
        row.id: row.title for row in connection.execute(_TITLES, {"ids": ids, "user_id": user_id})
    }
    for content in made["topContents"]:
        content["title"] = titles.get(content["contentId"])
    return made


def figures(
    present: Sequence[Document], earlier: Sequence[Document], span: DayRange, now: datetime
) -> dict[str, Any]:
    """Return every figure of the dashboard from daily documents; pure."""
    captured = max((row["capturedAt"] for row in present), default=None)
    sums, sums_before = _sums(present), _sums(earlier)
    by_day: dict[Any, list[Document]] = defaultdict(list)
    by_platform: dict[str, list[Document]] = defaultdict(list)
    for row in present:
        by_day[row["day"].date()].append(row)
        by_platform[row["platform"]].append(row)
    return {
        "range": span.name,
        "timezone": str(span.zone) if span.zone is not UTC else "UTC",
        "from": span.first.isoformat(),
        "to": span.last.isoformat(),
        "capturedAt": None if captured is None else iso_z(captured),
        "lagSeconds": None if captured is None else int((now - captured).total_seconds()),
        "totals": {name: change(sums[name], sums_before[name]) for name in ADDITIVE},
        "engagementRate": rate(present),
        "series": [{"date": day.isoformat(), **_sums(by_day.get(day, ()))} for day in span.days],
        "platforms": [
            {"platform": name, **_sums(rows), "engagementRate": rate(rows)}
            for name, rows in sorted(by_platform.items())
        ],
        "topContents": _top(present),
    }


def change(value: int | None, previous: int | None) -> dict[str, Any]:
    """Return a figure beside the range before; the percentage only where that is above zero."""
    both = value is not None and previous is not None
    difference = value - previous if value is not None and previous is not None else None
    percent = None
    if both and previous and previous > 0 and difference is not None:
        percent = round(difference / previous * 100, 2)
    return {
        "value": value,
        "previous": previous,
        "change": difference,
        "changePercent": percent,
    }


def rate(rows: Iterable[Document]) -> float | None:
    """Return the engagements per view, in %, of the platforms' increases; of what each one offers."""
    views, engagements, known = 0, 0, False
    for row in rows:
        totals: Mapping[str, int | None] = row["totals"]
        parts = [totals[name] for name in ENGAGEMENTS if name in OFFERED[Platform(row["platform"])]]
        if totals["views"] is None or None in parts:
            return None
        views += totals["views"]
        engagements += sum(part for part in parts if part is not None)
        known = True
    if not known or views < 0:
        return None
    return round(engagements / views * 100, 4) if views else 0.0


def _sums(rows: Iterable[Document]) -> dict[str, int | None]:
    rows = list(rows)
    return {name: summed(row["totals"][name] for row in rows) for name in ADDITIVE}


def _top(rows: Iterable[Document]) -> list[dict[str, Any]]:
    by_content: dict[str, list[Document]] = defaultdict(list)
    for row in rows:
        for entry in row["posts"]:
            by_content[entry["contentId"]].append(entry)
    sums: list[dict[str, Any]] = [
        {
            "contentId": content_id,
            "title": None,
            **{name: summed(entry[name]["increase"] for entry in told) for name in ADDITIVE},
        }
        for content_id, told in by_content.items()
    ]
    known = [content for content in sums if content["views"] is not None]
    return sorted(known, key=lambda one: (-one["views"], one["contentId"]))[:TOP_CONTENTS]

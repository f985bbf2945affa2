"""A person's numbers over a range: sums, days, the range before, platforms, and the best contents.

Days in UTC come from the rollups: two small documents a day, and one for each day of the range before.
Days in another zone are made from the readings themselves, so that both are true; they reach back as far
as readings are kept.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, text

from minitik_dagster.analytics.days import DayRange
from minitik_dagster.analytics.increases import summed
from minitik_dagster.analytics.live_posts import live_posts
from minitik_dagster.analytics.metrics import ADDITIVE, ENGAGEMENTS, OFFERED
from minitik_dagster.analytics.names import USER_DAILY
from minitik_dagster.analytics.rollup import zone_days
from minitik_dagster.analytics.store import AnalyticsStore, Document
from minitik_dagster.analytics.user_days import contents_id, day_in, sums_id, user_documents
from minitik_dagster.clock import iso_z
from minitik_dagster.db.types import Platform

TOP_CONTENTS: Final = 5
_TITLES: Final = text('SELECT id, title FROM contents WHERE id = ANY(:ids) AND "userId" = :user_id')


def dashboard(
    store: AnalyticsStore, connection: Connection, user_id: str, span: DayRange, now: datetime
) -> dict[str, Any]:
    """Return the person's dashboard as JSON holds it; DependencyDownError without MongoDB."""
    days = span.before.days + span.days
    if span.zone is UTC:
        sums, contents = [sums_id(user_id)], [contents_id(user_id)]
        wanted = {f"{day:%Y-%m-%d}": sums + contents * (day >= span.first) for day in days}
        rows = store.pick(USER_DAILY, wanted)
    else:
        series = [post.series for post in live_posts(connection, user_id=user_id)]
        rows = user_documents(zone_days(store, series, days, span.zone, now=now))
    made = figures(rows, span, now)
    ids = [content["contentId"] for content in made["topContents"]]
    titles = {
        row.id: row.title for row in connection.execute(_TITLES, {"ids": ids, "user_id": user_id})
    }
    for content in made["topContents"]:
        content["title"] = titles.get(content["contentId"])
    return made


def figures(rows: Iterable[Document], span: DayRange, now: datetime) -> dict[str, Any]:
    """Return every figure of the dashboard from a person's days, the range before among them; pure."""
    present, earlier, contents = [], [], []
    for row in rows:
        if day_in(row) < span.first:
            earlier += [row] if "platforms" in row else []
        elif "platforms" in row:
            present.append(row)
        else:
            contents.append(row)
    captured = max((row["capturedAt"] for row in present), default=None)
    by_platform: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for platform, told in _platforms(present):
        by_platform[platform].append(told)
    sums, sums_before = _sums(_platforms(present)), _sums(_platforms(earlier))
    by_day = {day_in(row): row for row in present}
    return {
        "range": span.name,
        "timezone": str(span.zone) if span.zone is not UTC else "UTC",
        "from": span.first.isoformat(),
        "to": span.last.isoformat(),
        "capturedAt": None if captured is None else iso_z(captured),
        "lagSeconds": None if captured is None else int((now - captured).total_seconds()),
        "totals": {name: change(sums[name], sums_before[name]) for name in ADDITIVE},
        "engagementRate": rate(_platforms(present)),
        "series": [
            {
                "date": day.isoformat(),
                **_sums(_platforms([by_day[day]] if day in by_day else [])),
            }
            for day in span.days
        ],
        "platforms": [
            {
                "platform": name,
                **_sums((name, told) for told in days),
                "engagementRate": rate((name, told) for told in days),
            }
            for name, days in sorted(by_platform.items())
        ],
        "topContents": _top(contents),
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


PlatformDay = tuple[str, Mapping[str, Any]]


def _platforms(rows: Iterable[Document]) -> Iterator[PlatformDay]:
    for row in rows:
        yield from row["platforms"].items()


def rate(days: Iterable[PlatformDay]) -> float | None:
    """Return the engagements per view, in %, of the platforms' increases; of what each one offers.

    None where a part of any of the days is not known.
    """
    views, engagements, known = 0, 0, False
    for platform, told in days:
        if not told["whole"]:
            return None
        views += told["views"]
        engagements += sum(
            told[name] for name in ENGAGEMENTS if name in OFFERED[Platform(platform)]
        )
        known = True
    if not known or views < 0:
        return None
    return round(engagements / views * 100, 4) if views else 0.0


def _sums(days: Iterable[PlatformDay]) -> dict[str, int | None]:
    told = [sums for _, sums in days]
    return {name: summed(one[name] for one in told) for name in ADDITIVE}


def _top(rows: Iterable[Document]) -> list[dict[str, Any]]:
    """Return the contents with most views gained; those of which none is known stand in no order."""
    gained: dict[str, dict[str, int | None]] = defaultdict(lambda: dict.fromkeys(ADDITIVE))
    for row in rows:
        for name in ADDITIVE:
            for content_id, value in zip(row["contentIds"], row[name], strict=True):
                if value is not None:
                    so_far = gained[content_id]
                    so_far[name] = (so_far[name] or 0) + value
    known = [
        (sums["views"], content_id)
        for content_id, sums in gained.items()
        if sums["views"] is not None
    ]
    best = sorted(known, key=lambda one: (-one[0], one[1]))[:TOP_CONTENTS]
    return [
        {"contentId": content_id, "title": None, **gained[content_id]} for _, content_id in best
    ]

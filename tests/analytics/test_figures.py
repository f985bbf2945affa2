"""Every figure of the dashboard and the export against a plain recomputation, of drawn counters.

Posts over weeks, with gaps, falls, adopted ones, metrics that come and go, and readings that two
overlapping runs wrote twice.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from minitik_dagster.analytics.dashboard import figures
from minitik_dagster.analytics.days import day_range
from minitik_dagster.analytics.exports import day_rows
from minitik_dagster.analytics.metrics import ADDITIVE, NAMES, OFFERED
from minitik_dagster.analytics.readings import Reading, Series, earliest_per_slot
from minitik_dagster.analytics.rollup import account_day, post_day
from minitik_dagster.db.types import Platform

NOW = datetime(2026, 4, 20, 15, 20, tzinfo=UTC)
TODAY = NOW.date()


@dataclass(frozen=True)
class Story:
    """A post and what was read of it, in the order in which it was written."""

    series: Series
    readings: list[Reading]


@st.composite
def stories(draw: st.DrawFn) -> list[Story]:
    found = []
    for number in range(draw(st.integers(min_value=1, max_value=4))):
        platform = draw(st.sampled_from(list(Platform)))
        live = NOW - timedelta(minutes=draw(st.integers(min_value=1, max_value=40 * 24 * 60)))
        series = Series(
            publication_id=f"p{number}",
            content_id=f"c{number % 2}",
            account_id=f"a{platform.value}",
            user_id="u",
            platform=platform,
            platform_post_id=f"x{number}",
            live_at=live,
            adopted=draw(st.booleans()),
        )
        hours = draw(st.lists(st.integers(min_value=1, max_value=40 * 24), max_size=25))
        readings = []
        for hour in hours:  # not sorted: what comes late is written late
            slot = (live + timedelta(hours=hour)).replace(minute=0, second=0, microsecond=0)
            at = slot + timedelta(seconds=draw(st.integers(min_value=1, max_value=3_000)))
            counters = {
                name: draw(st.none() | st.integers(min_value=0, max_value=500))
                if name in OFFERED[platform]
                else None
                for name in NAMES
            }
            if live < at <= NOW:
                readings.append(Reading(series.publication_id, slot, at, counters))
        found.append(Story(series, readings))
    return found


def documents(told: list[Story], first: date, last: date) -> list[dict[str, Any]]:
    """The rollup of each day, as the asset makes it."""
    made = []
    for n in range((last - first).days + 1):
        day = first + timedelta(days=n)
        by_account = defaultdict(list)
        for story in told:
            readings = earliest_per_slot(story.readings)
            start = datetime.combine(day, datetime.min.time(), UTC)
            if any(start < one.timestamp <= start + timedelta(days=1) for one in readings):
                entry = post_day(story.series, readings, day)
                by_account[story.series.account_id].append((story.series, entry))
        made += [account_day(day, rows) for rows in by_account.values()]
    return made


# The plain recomputation: nothing of the package's own arithmetic.


def plain_points(story: Story, name: str) -> list[tuple[datetime, int]]:
    first: dict[datetime, Reading] = {}
    for one in story.readings:
        if one.slot not in first or one.timestamp < first[one.slot].timestamp:
            first[one.slot] = one
    points = []
    for one in first.values():
        value = one.counters[name]
        if value is not None:
            points.append((one.timestamp, value))
    return sorted(points)


def plain_increase(story: Story, name: str, start: datetime, end: datetime) -> int | None:
    points = plain_points(story, name)
    inside = [value for at, value in points if start < at <= end]
    before = [value for at, value in points if at <= start]
    if not inside:
        return None
    if before:
        return inside[-1] - before[-1]
    if not story.series.adopted:
        return inside[-1]
    return inside[-1] - inside[0] if len(inside) > 1 else None


def plain_sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


@settings(max_examples=70, deadline=None)
@given(stories(), st.sampled_from(["7d", "14d", "30d"]))
def test_the_dashboards_figures_are_those_of_a_plain_recomputation(
    told: list[Story], name: str
) -> None:
    span = day_range(name, NOW)
    made = figures(
        documents(told, span.first, span.last),
        documents(told, span.before.first, span.before.last),
        span,
        NOW,
    )
    start, end = midnight(span.first), midnight(TODAY) + timedelta(days=1)
    earlier = midnight(span.before.first)

    def over(which: list[Story], metric: str, a: datetime, b: datetime) -> int | None:
        return plain_sum([plain_increase(story, metric, a, b) for story in which])

    for metric in ADDITIVE:
        value, previous = over(told, metric, start, end), over(told, metric, earlier, start)
        total = made["totals"][metric]
        assert (total["value"], total["previous"]) == (value, previous)
        if value is not None and previous is not None:
            assert total["change"] == value - previous
            percent = round((value - previous) / previous * 100, 2) if previous > 0 else None
            assert total["changePercent"] == percent
        for n, day in enumerate(span.days):
            assert made["series"][n]["date"] == str(day)
            assert made["series"][n][metric] == over(
                told, metric, midnight(day), midnight(day) + timedelta(days=1)
            )
        for row in made["platforms"]:
            mine = [one for one in told if one.series.platform.value == row["platform"]]
            assert row[metric] == over(mine, metric, start, end)
        for row in made["topContents"]:
            mine = [one for one in told if one.series.content_id == row["contentId"]]
            assert row[metric] == over(mine, metric, start, end)
    gained = {
        content: over(
            [one for one in told if one.series.content_id == content], "views", start, end
        )
        for content in {one.series.content_id for one in told}
    }
    known = {content: views for content, views in gained.items() if views is not None}
    assert [row["contentId"] for row in made["topContents"]] == sorted(
        known, key=lambda content: (-known[content], content)
    )
    seen = [
        r.timestamp for one in told for r in earliest_per_slot(one.readings) if r.timestamp > start
    ]
    assert (made["capturedAt"] is None) == (not seen)


@settings(max_examples=50, deadline=None)
@given(stories())
def test_the_exports_rows_are_those_of_a_plain_recomputation(told: list[Story]) -> None:
    """A row for every day on which a post was live; what is not known is empty."""
    span = day_range("30d", NOW)
    series = [story.series for story in told]
    rolled = documents(told, span.first, span.last)
    rows = [
        row
        for day in span.days
        for row in day_rows(day, series, [one for one in rolled if one["day"].date() == day])
    ]
    expected = []
    for day in span.days:
        for story in sorted(
            told, key=lambda one: (one.series.content_id, one.series.publication_id)
        ):
            if (story.series.live_at - timedelta(microseconds=1)).date() > day:
                continue
            figure: dict[str, int | None] = {
                name: plain_increase(story, name, midnight(day), midnight(day) + timedelta(days=1))
                for name in NAMES
            }
            offered = OFFERED[story.series.platform]
            parts = [figure[name] for name in ("likes", "comments", "shares") if name in offered]
            views, rate = figure["views"], None
            if views is not None and views >= 0 and None not in parts:
                engaged = sum(part for part in parts if part is not None)
                rate = round(engaged / views * 100, 4) if views else 0.0
            expected.append(
                {
                    "date": str(day),
                    "contentId": story.series.content_id,
                    "platform": story.series.platform.value,
                    "accountId": story.series.account_id,
                    **figure,
                    "engagementRate": rate,
                }
            )
    assert rows == expected

"""Every figure of the dashboard and the export against a plain recomputation, of drawn counters.

Posts over weeks, with gaps, falls, adopted ones, metrics that come and go, readings that two overlapping
runs wrote twice, readings that arrived when their day had been rolled up; in UTC and in a person's zone.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from minitik_dagster.analytics.dashboard import figures
from minitik_dagster.analytics.days import DayRange, day_of, day_range
from minitik_dagster.analytics.exports import day_rows
from minitik_dagster.analytics.late import days_touched
from minitik_dagster.analytics.metrics import ADDITIVE, NAMES, OFFERED
from minitik_dagster.analytics.readings import Reading, Series, earliest_per_slot
from minitik_dagster.analytics.rollup import zone_documents
from minitik_dagster.analytics.user_days import user_documents
from minitik_dagster.clock import iso_z
from minitik_dagster.db.types import Platform

NOW = datetime(2026, 4, 20, 15, 20, tzinfo=UTC)
# Lisbon's clocks were put forward on 2026-03-29, inside the ranges: a day of 23 hours.
ZONES = [
    UTC,
    ZoneInfo("Asia/Kathmandu"),
    ZoneInfo("America/Los_Angeles"),
    ZoneInfo("Europe/Lisbon"),
]
Documents = dict[date, list[dict[str, Any]]]


@dataclass(frozen=True)
class Story:
    """A post, what was read of it in time, and what arrived when the days had been rolled up."""

    series: Series
    readings: list[Reading]
    late: list[Reading] = field(default_factory=list)

    @property
    def told(self) -> list[Reading]:
        """All that was read, in the order in which it was written."""
        return self.readings + self.late


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
        story = Story(series, [])
        for hour in hours:  # not sorted, and some twice
            slot = (live + timedelta(hours=hour)).replace(minute=0, second=0, microsecond=0)
            at = slot + timedelta(seconds=draw(st.integers(min_value=1, max_value=3_000)))
            counters = {
                name: draw(st.none() | st.integers(min_value=0, max_value=500))
                if name in OFFERED[platform]
                else None
                for name in NAMES
            }
            if live < at <= NOW:
                kept = story.late if draw(st.integers(0, 4)) == 0 else story.readings
                kept.append(Reading(series.publication_id, slot, at, counters))
        found.append(story)
    return found


def all_days() -> list[date]:
    """Every day of which a figure is asked."""
    return [NOW.date() - timedelta(days=n) for n in range(62, -1, -1)]


def rolled_up(
    told: list[Story], days: Iterable[date], *, late: bool, zone: tzinfo = UTC
) -> Documents:
    """The documents of these days, as the asset makes them, by day."""
    series = [story.series for story in told]
    readings = {
        story.series.publication_id: earliest_per_slot(story.told if late else story.readings)
        for story in told
    }
    found: Documents = defaultdict(list)
    for row in zone_documents(series, readings, list(days), zone, now=NOW):
        found[row["day"].date()].append(row)
    return found


def in_the_end(told: list[Story]) -> Documents:
    """Days that were rolled up in time; what came late rolls up again the days it touches, no other."""
    found = rolled_up(told, all_days(), late=False)
    late = [reading for story in told for reading in story.late]
    touched = days_touched(late, [reading for story in told for reading in story.told])
    again = rolled_up(told, touched, late=True)
    return {day: again.get(day, []) if day in touched else found.get(day, []) for day in all_days()}


# The plain recomputation: nothing of the package's own arithmetic.


def plain_points(story: Story, name: str) -> list[tuple[datetime, int]]:
    first: dict[datetime, Reading] = {}
    for one in story.told:
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


def plain_sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def plain_rate(platform: Platform, told: dict[str, int | None]) -> tuple[int, int] | None:
    """(engagements, views), None where a part that the platform offers is not known."""
    offered = [name for name in ("likes", "comments", "shares") if name in OFFERED[platform]]
    parts = [told[name] for name in offered]
    if told["views"] is None or None in parts:
        return None
    return sum(part for part in parts if part is not None), told["views"]


def percent(pairs: list[tuple[int, int] | None]) -> float | None:
    engaged = views = 0
    for pair in pairs:
        if pair is None:
            return None
        engaged, views = engaged + pair[0], views + pair[1]
    if not pairs or views < 0:
        return None
    return round(engaged / views * 100, 4) if views else 0.0


def midnight(day: date, zone: tzinfo = UTC) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def bounds(day: date, zone: tzinfo = UTC) -> tuple[datetime, datetime]:
    return midnight(day, zone), midnight(day + timedelta(days=1), zone)


def over(which: list[Story], metric: str, a: datetime, b: datetime) -> int | None:
    return plain_sum(plain_increase(story, metric, a, b) for story in which)


def read_within(story: Story, start: datetime, end: datetime) -> list[datetime]:
    return [one.timestamp for one in earliest_per_slot(story.told) if start < one.timestamp <= end]


def plain_rates(told: list[Story], span: DayRange) -> list[tuple[int, int] | None]:
    """A pair for each account's day that was read."""
    pairs: list[tuple[int, int] | None] = []
    for day in span.days:
        start, end = bounds(day, span.zone)
        for account in sorted({story.series.account_id for story in told}):
            mine = [one for one in told if one.series.account_id == account]
            if any(read_within(one, start, end) for one in mine):
                sums = {name: over(mine, name, start, end) for name in ADDITIVE}
                pairs.append(plain_rate(mine[0].series.platform, sums))
    return pairs


@settings(max_examples=70, deadline=None)
@given(stories(), st.sampled_from(["7d", "14d", "30d"]), st.sampled_from(ZONES))
def test_the_dashboards_figures_are_those_of_a_plain_recomputation(
    told: list[Story], name: str, zone: tzinfo
) -> None:
    """Days in UTC come from rollups that late readings put right, those of a zone from the readings."""
    span = day_range(name, NOW, zone)
    days = span.before.days + span.days
    made_of = in_the_end(told) if zone is UTC else rolled_up(told, days, late=True, zone=zone)
    rows = user_documents(row for day in days for row in made_of.get(day, []))
    made = figures(rows, span, NOW)
    start, end, earlier = midnight(span.first, zone), bounds(span.last, zone)[1], span.before.start

    assert (made["from"], made["to"], made["range"]) == (
        str(days[len(days) // 2]),
        str(days[-1]),
        name,
    )
    for metric in ADDITIVE:
        value, previous = over(told, metric, start, end), over(told, metric, earlier, start)
        total = made["totals"][metric]
        assert (total["value"], total["previous"]) == (value, previous)
        difference = share = None
        if value is not None and previous is not None:
            difference = value - previous
            share = round(difference / previous * 100, 2) if previous > 0 else None
        assert (total["change"], total["changePercent"]) == (difference, share)
        for n, day in enumerate(span.days):
            assert made["series"][n]["date"] == str(day)
            assert made["series"][n][metric] == over(told, metric, *bounds(day, zone))
        for row in made["platforms"]:
            mine = [one for one in told if one.series.platform.value == row["platform"]]
            assert row[metric] == over(mine, metric, start, end)
        for row in made["topContents"]:
            mine = [one for one in told if one.series.content_id == row["contentId"]]
            assert row[metric] == over(mine, metric, start, end)
    assert made["engagementRate"] == percent(plain_rates(told, span))
    seen = {
        platform.value: [one for one in told if one.series.platform is platform]
        for platform in Platform
    }
    assert {row["platform"]: row["engagementRate"] for row in made["platforms"]} == {
        platform: percent(plain_rates(mine, span))
        for platform, mine in seen.items()
        if any(read_within(one, start, end) for one in mine)
    }
    gained = {
        content: over([s for s in told if s.series.content_id == content], "views", start, end)
        for content in {one.series.content_id for one in told}
    }
    known = {content: views for content, views in gained.items() if views is not None}
    assert [row["contentId"] for row in made["topContents"]] == sorted(
        known, key=lambda content: (-known[content], content)
    )
    captured = max((at for one in told for at in read_within(one, start, end)), default=None)
    assert made["capturedAt"] == (None if captured is None else iso_z(captured))
    assert made["lagSeconds"] == (
        None if captured is None else (NOW - captured) // timedelta(seconds=1)
    )


@settings(max_examples=50, deadline=None)
@given(stories())
def test_the_exports_rows_are_those_of_a_plain_recomputation(told: list[Story]) -> None:
    """A row for every day on which a post was live; what is not known is empty."""
    span = day_range("30d", NOW)
    series = [story.series for story in told]
    rolled = in_the_end(told)
    rows = [row for day in span.days for row in day_rows(day, series, rolled[day])]
    expected = []
    for day in span.days:
        for story in sorted(
            told, key=lambda one: (one.series.content_id, one.series.publication_id)
        ):
            if (story.series.live_at - timedelta(microseconds=1)).date() > day:
                continue
            figure = {name: plain_increase(story, name, *bounds(day)) for name in NAMES}
            pair = plain_rate(story.series.platform, figure)
            expected.append(
                {
                    "date": str(day),
                    "contentId": story.series.content_id,
                    "platform": story.series.platform.value,
                    "accountId": story.series.account_id,
                    **figure,
                    "engagementRate": percent([pair]),
                }
            )
    assert rows == expected


@settings(max_examples=50, deadline=None)
@given(stories())
def test_late_readings_put_right_the_days_they_touch(told: list[Story]) -> None:
    """In the end all days are as if nothing had ever been late."""
    in_time = rolled_up(told, all_days(), late=True)
    assert in_the_end(told) == {day: in_time.get(day, []) for day in all_days()}
    for story in told:
        for reading in story.late:
            assert day_of(reading.timestamp) in days_touched([reading], story.told)

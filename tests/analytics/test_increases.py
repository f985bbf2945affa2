"""Increases of counters: drawn series with gaps, falls and late first readings, and plain recomputation."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from minitik_dagster.analytics.days import day_of, day_range, end_of, start_of
from minitik_dagster.analytics.increases import Counter
from minitik_dagster.analytics.metrics import engagement_rate
from minitik_dagster.analytics.readings import Reading, Series, earliest_per_slot
from minitik_dagster.db.types import Platform

MONDAY = datetime(2026, 3, 2, 10, 30, tzinfo=UTC)
ZONES = [UTC, ZoneInfo("Asia/Kathmandu"), ZoneInfo("America/Los_Angeles")]


def series(*, adopted: bool = False, live_at: datetime = MONDAY) -> Series:
    return Series("p", "c", "a", "u", Platform.TIKTOK, "t", live_at, adopted)


@st.composite
def counters(draw: st.DrawFn) -> Counter:
    """Three weeks of readings at odd minutes, some days without any, counts that also fall."""
    minutes = draw(
        st.lists(st.integers(min_value=1, max_value=21 * 24 * 60), max_size=40, unique=True)
    )
    points = [
        (MONDAY + timedelta(minutes=minute), draw(st.integers(min_value=0, max_value=10_000)))
        for minute in sorted(minutes)
    ]
    return Counter(series(adopted=draw(st.booleans())), points)


@given(counters(), st.sampled_from(ZONES))
def test_days_add_up_to_the_range(counter: Counter, zone: ZoneInfo) -> None:
    """Sums telescope: the days' increases are the counter's difference, whatever the zone."""
    found = day_range("30d", MONDAY + timedelta(days=24), zone)
    days = [counter.day(day, zone) for day in found.days]
    known = [one.increase for one in days if one.increase is not None]
    whole = counter.between(found.start, found.end)
    assert sum(known) == (whole or 0)
    assert bool(known) == (whole is not None)


@given(counters(), st.integers(min_value=0, max_value=23))
def test_ranges_that_touch_add_up(counter: Counter, cut: int) -> None:
    start, middle = start_of(date(2026, 3, 1)), start_of(date(2026, 3, 1) + timedelta(days=cut))
    end = end_of(date(2026, 3, 24))
    parts = [counter.between(start, middle), counter.between(middle, end)]
    assert sum(part for part in parts if part is not None) == (counter.between(start, end) or 0)


@given(counters())
def test_a_day_without_a_reading_is_null_and_the_next_one_covers_it(counter: Counter) -> None:
    """Nothing is interpolated, no day is covered twice, and none is left out."""
    days = [date(2026, 3, 2) + timedelta(days=n) for n in range(24)]
    found = {day: counter.day(day) for day in days}
    for day, one in found.items():
        has_reading = any(day_of(at) == day for at, _ in counter._points)
        assert (one.total is not None) == has_reading
        assert has_reading or one.increase is None
        assert one.corrected == (one.increase is not None and one.increase < 0)
    told = [(day, one.span_days) for day, one in found.items() if one.span_days is not None]
    for (before, _), (day, span) in pairwise(told):
        assert span == (day - before).days
    if told and not counter._series.adopted:
        assert told[0][1] == (told[0][0] - date(2026, 3, 2)).days + 1


def test_an_adopted_post_is_unknown_until_it_was_read() -> None:
    """A post of last year does not gain all its views on the day it is first read."""
    old = series(adopted=True, live_at=MONDAY - timedelta(days=300))
    counter = Counter(old, [(MONDAY, 9_000), (MONDAY + timedelta(hours=30), 9_050)])
    first, second = counter.day(date(2026, 3, 2)), counter.day(date(2026, 3, 3))
    assert (first.increase, first.total, first.since) == (None, 9_000, MONDAY)
    assert (second.increase, second.span_days) == (50, 1)
    assert counter.at(MONDAY - timedelta(days=1)) is None


def test_our_own_post_begins_at_zero() -> None:
    counter = Counter(series(), [(MONDAY + timedelta(days=2), 70)])
    assert counter.at(MONDAY) == 0
    day = counter.day(date(2026, 3, 4))
    assert (day.increase, day.span_days) == (70, 3)


def test_unlikes_are_a_negative_day_and_marked() -> None:
    counter = Counter(series(), [(MONDAY, 10), (MONDAY + timedelta(days=1), 7)])
    day = counter.day(date(2026, 3, 3))
    assert (day.increase, day.corrected) == (-3, True)


@given(
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.sampled_from(ZONES),
)
def test_every_instant_lies_in_exactly_the_day_named(instant: datetime, zone: ZoneInfo) -> None:
    """Days of 23 and of 25 hours included; midnight closes the day before."""
    day = day_of(instant, zone)
    assert start_of(day, zone) < instant <= end_of(day, zone)


def test_of_two_readings_of_a_slot_the_earliest_counts() -> None:
    """Overlapping runs may both write: a time-series collection has no unique index."""
    slot = MONDAY.replace(minute=0)
    one = Reading("p", slot, MONDAY, {"views": 5})
    two = Reading("p", slot, MONDAY + timedelta(seconds=9), {"views": 6})
    other = Reading("q", slot, MONDAY, {"views": 7})
    assert earliest_per_slot([two, other, one]) == [other, one]


def test_the_engagement_rate_is_null_where_an_offered_part_is() -> None:
    """0 only when views is 0; what the platform does not offer does not count as missing."""
    counts: dict[str, int | None] = {"views": 200, "likes": 10, "comments": 2, "shares": None}
    assert engagement_rate(Platform.TIKTOK, counts) is None
    assert engagement_rate(Platform.YOUTUBE, counts) == 6.0
    assert engagement_rate(Platform.YOUTUBE, {**counts, "views": 0}) == 0.0
    assert engagement_rate(Platform.YOUTUBE, {**counts, "views": None}) is None

"""Wall time + zone -> one instant: for every zone, around its changes, whatever the process's own."""

import contextlib
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitik_dagster.errors import InvalidInputError
from minitik_dagster.scheduling.instants import (
    HORIZON,
    Disambiguation,
    ZonedInstant,
    check_window,
    require_zone,
    resolve,
    zone_names,
)

FIRST, LAST = datetime(2024, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ZONES = sorted(zone_names())
WAYS: tuple[Disambiguation, Disambiguation] = ("earlier", "later")


@cache
def changes(zone: str) -> tuple[datetime, ...]:
    """The instants from 2024 to 2030 at which the zone's offset changes, to the second."""
    tz = ZoneInfo(zone)
    found = []
    step = timedelta(days=1)
    day = FIRST
    while day < LAST:
        if day.astimezone(tz).utcoffset() != (day + step).astimezone(tz).utcoffset():
            low, high = day, day + step
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                middle = middle.replace(microsecond=0)
                same = middle.astimezone(tz).utcoffset() == low.astimezone(tz).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(high)
        day += step
    return tuple(found)


def _is_valid(wall: datetime, instant: datetime, tz: ZoneInfo) -> bool:
    return instant.astimezone(tz).replace(tzinfo=None, fold=0) == wall


def _refusal(wall: datetime, zone: str) -> str | None:
    """Why a wall time is refused; None where it means one instant."""
    try:
        resolve(wall.isoformat(), zone)
    except InvalidInputError as error:
        return str(error)
    return None


zones = st.sampled_from(ZONES)
seconds = st.integers(0, int((LAST - FIRST).total_seconds()))


@st.composite
def zone_and_instant(draw: st.DrawFn) -> tuple[str, datetime]:
    """A zone and an instant, every other time within three hours of one of its changes."""
    zone = draw(zones)
    near, close = changes(zone), draw(st.booleans())
    if near and close:
        around = draw(st.integers(-10_800, 10_800))
        return zone, draw(st.sampled_from(near)) + timedelta(seconds=around)
    return zone, FIRST + timedelta(seconds=draw(seconds))


@given(zone_and_instant())
@settings(max_examples=400, deadline=None)
def test_what_an_instants_own_wall_clock_shows_leads_back_to_it(
    case: tuple[str, datetime],
) -> None:
    """Round trip: a wall time that exists once is that instant; a doubled one is refused or chosen."""
    zone, instant = case
    tz = ZoneInfo(zone)
    local = instant.astimezone(tz)
    wall = local.replace(tzinfo=None, fold=0)
    refusal = _refusal(wall, zone)
    if refusal is None:
        assert resolve(wall.isoformat(), zone).at == instant
        return
    assert "happens twice" in refusal
    both = [resolve(wall.isoformat(), zone, disambiguation=way).at for way in WAYS]
    assert both[0] < both[1]
    assert instant == both[local.fold]
    assert all(_is_valid(wall, item, tz) for item in both)


@given(zone_and_instant())
@settings(max_examples=400, deadline=None)
def test_a_skipped_wall_time_is_refused_and_its_two_readings_lie_around_the_change(
    case: tuple[str, datetime],
) -> None:
    """Any wall time at all: valid, or refused with two instants on either side of one change."""
    zone, instant = case
    tz = ZoneInfo(zone)
    wall = instant.replace(tzinfo=None)  # most walls are ordinary; those near changes are not
    refusal = _refusal(wall, zone)
    if refusal is None:
        assert _is_valid(wall, resolve(wall.isoformat(), zone).at, tz)
        return
    earlier, later = (resolve(wall.isoformat(), zone, disambiguation=way).at for way in WAYS)
    assert earlier < later
    assert len([item for item in changes(zone) if earlier <= item <= later]) == 1
    valid = [_is_valid(wall, item, tz) for item in (earlier, later)]
    assert valid == ([True, True] if "happens twice" in refusal else [False, False])
    for item in (earlier, later):
        assert item.astimezone(tz).isoformat() in refusal


@given(zone_and_instant(), st.integers(-14 * 60, 14 * 60))
@settings(max_examples=200, deadline=None)
def test_with_an_offset_it_is_that_instant_whatever_the_zone_says(
    case: tuple[str, datetime], minutes: int
) -> None:
    zone, instant = case
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    wall = (instant + timedelta(minutes=minutes)).replace(tzinfo=None).isoformat()
    found = resolve(f"{wall}{sign}{hours:02d}:{rest:02d}", zone)
    assert (found.at, found.zone) == (instant, zone)
    # Across zones Python calls doubled times unequal (PEP 495): compare in UTC.
    assert found.local.astimezone(UTC) == instant
    assert datetime.fromisoformat(found.local_text) == instant


@pytest.fixture(params=["Asia/Kathmandu", "America/St_Johns", "Pacific/Apia", "UTC"])
def process_zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """The process's own zone, as TZ sets it."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def test_the_process_zone_changes_nothing(process_zone: str) -> None:
    assert resolve("2026-07-01T09:00", "Europe/Berlin").at == datetime(2026, 7, 1, 7, tzinfo=UTC)
    assert resolve("2026-07-01T09:00Z", None).at == datetime(2026, 7, 1, 9, tzinfo=UTC)


def test_a_zone_by_another_process_zone_is_never_accepted() -> None:
    """`localtime` would mean another instant on another machine."""
    for name in ("localtime", "Factory", "posixrules", "../etc/passwd", "", "europe/berlin"):
        with pytest.raises(InvalidInputError, match="timezone: unknown time zone"):
            require_zone(name)


def test_an_unknown_zone_is_answered_with_names_that_look_alike() -> None:
    with pytest.raises(InvalidInputError, match="Europe/Berlin"):
        require_zone("Europe/Berln")


def test_a_skipped_and_a_doubled_time_in_new_york() -> None:
    """The rule, by example: the readings by the offset after and before the change."""
    with pytest.raises(InvalidInputError, match="does not exist in America/New_York") as skipped:
        resolve("2026-03-08T02:30", "America/New_York")
    assert "2026-03-08T01:30:00-05:00 and 2026-03-08T03:30:00-04:00" in str(skipped.value)
    with pytest.raises(InvalidInputError, match="happens twice in America/New_York") as doubled:
        resolve("2026-11-01T01:30", "America/New_York")
    assert "2026-11-01T01:30:00-04:00 and 2026-11-01T01:30:00-05:00" in str(doubled.value)
    later = resolve("2026-11-01T01:30", "America/New_York", disambiguation="later")
    assert later.local_text == "2026-11-01T01:30:00-05:00"


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-12-01", "20261201T1000", "2026-12-01T25:00", "2026-02-29T10:00Z",
     "2026-12-01T10:00+99:00", "2026-12-01T10:00+05:75", "1764590400", "2026-W49-2T10:00",
     "\u0662026-12-01T10:00", "0001-01-01T00:00", "9999-12-31T23:59:59.9995Z"],
)  # fmt: skip
def test_what_is_no_date_and_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        resolve(text, "Asia/Tokyo")
    [problem] = refused.value.problems
    assert problem.field == "scheduledAt"
    assert "2026-12-24T18:00:00" in problem.fix


@given(st.text(max_size=40))
@settings(max_examples=300)
def test_no_text_breaks_it(text: str) -> None:
    """Any text is an instant or an InvalidInputError."""
    with contextlib.suppress(InvalidInputError):
        assert resolve(text, "UTC").at.tzinfo is UTC


def test_neither_offset_nor_zone_names_the_missing_field() -> None:
    with pytest.raises(InvalidInputError) as refused:
        resolve("2026-12-01T10:00", None)
    assert refused.value.problems[0].field == "timezone"


def test_a_finer_fraction_is_rounded_up_so_that_a_post_is_never_early() -> None:
    assert resolve("2026-12-01T10:00:00.0001Z", None).at.microsecond == 1000
    assert resolve("2026-12-01T10:00:00.250Z", None).at.microsecond == 250_000
    assert resolve("2026-12-01T10:00:59.9999Z", None).at.second == 0


def test_the_past_is_refused_with_both_instants_and_now_is_not_the_past() -> None:
    check_window(ZonedInstant(NOW, "UTC"), NOW)
    with pytest.raises(InvalidInputError, match="Cannot schedule a job in the past") as refused:
        check_window(ZonedInstant(NOW - timedelta(milliseconds=1), "Asia/Tokyo"), NOW)
    assert "2026-11-24T11:59:59.999Z" in str(refused.value)
    assert "2026-11-24T12:00:00.000Z" in str(refused.value)


def test_beyond_thirty_days_is_refused_with_the_last_instant_that_is_not() -> None:
    check_window(ZonedInstant(NOW + HORIZON, "UTC"), NOW)
    with pytest.raises(InvalidInputError, match=r"2026-12-24T12:00:00\.000Z"):
        check_window(ZonedInstant(NOW + HORIZON + timedelta(milliseconds=1), "UTC"), NOW)

"""Time is aware, in UTC, and written one way."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitik_dagster.clock import Clock, MovableClock, SystemClock, boottime, iso_z

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
INSTANTS = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9998, 12, 30)).map(  # noqa: DTZ001 - made aware below
    lambda naive: naive.replace(tzinfo=UTC)
)
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def test_the_system_clock_is_aware_and_in_utc() -> None:
    """A naive instant would be compared with a wrong one somewhere."""
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert before <= now <= datetime.now(UTC)


def test_a_movable_clock_stands_until_it_is_moved() -> None:
    """Backwards too: clocks do that."""
    clock = MovableClock(NOON)
    held: Clock = clock
    assert (held.now(), held.now()) == (NOON, NOON)
    for instant in (NOON + timedelta(days=1), NOON - timedelta(days=1)):
        clock.move_to(instant)
        assert held.now() == instant


def test_boot_time_never_runs_backwards_and_runs_as_fast_as_the_monotonic_clock() -> None:
    """Send deadlines are measured on it: it counts suspended time as well (engine.md R4)."""
    readings = [boottime() for _ in range(1000)]
    assert readings == sorted(readings)
    boot, monotonic = boottime(), time.monotonic()
    while time.monotonic() - monotonic < 0.02:
        pass
    assert boottime() - boot >= 0.02


@pytest.mark.parametrize(
    ("instant", "written"),
    [
        (NOON, "2026-11-24T12:00:00.000Z"),
        (NOON.replace(microsecond=999_999), "2026-11-24T12:00:00.999Z"),
        (
            datetime(2026, 11, 24, 21, 0, 0, 5_000, tzinfo=timezone(timedelta(hours=9))),
            "2026-11-24T12:00:00.005Z",
        ),
    ],
)
def test_an_instant_is_written_in_utc_with_milliseconds_and_z(
    instant: datetime, written: str
) -> None:
    """The HTTP contract's form; a part of a millisecond is cut off, never rounded up."""
    assert iso_z(instant) == written


@given(instant=INSTANTS, zone=ZONES)
def test_what_is_written_reads_back_as_the_same_millisecond(
    instant: datetime, zone: timezone
) -> None:
    """Whatever zone the instant was held in."""
    back = datetime.fromisoformat(iso_z(instant.astimezone(zone)))
    assert timedelta(0) <= instant - back < timedelta(milliseconds=1)

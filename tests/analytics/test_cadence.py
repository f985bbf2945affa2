"""The ladder of due instants: pure rules, drawn."""

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from minitik_dagster.analytics.cadence import (
    HOUR,
    LADDER,
    first_slot,
    first_slots_due,
    last_due,
    may_be_read,
    next_due,
)

LIVE = st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
HOURS = st.integers(min_value=-48, max_value=24 * 400)


def test_the_ladder_is_the_cadence_by_age() -> None:
    """Hourly in the first day, every 4 h until the third, 6 h until the seventh, daily, weekly, a year."""
    steps = {b: b - a for a, b in itertools.pairwise(LADDER)}
    assert LADDER[0] == 0
    assert {step for age, step in steps.items() if age <= 24} == {1}
    assert {step for age, step in steps.items() if 24 < age <= 72} == {4}
    assert {step for age, step in steps.items() if 72 < age <= 168} == {6}
    assert {step for age, step in steps.items() if 168 < age <= 720} == {24}
    assert {step for age, step in steps.items() if age > 720} == {168}
    assert 365 * 24 - 168 < LADDER[-1] <= 365 * 24
    assert len(LADDER) == 1 + 24 + 12 + 16 + 23 + 47


@given(LIVE)
def test_the_first_slot_is_the_first_whole_hour_of_being_live(live: datetime) -> None:
    first = first_slot(live)
    assert first == first.replace(minute=0, second=0, microsecond=0)
    assert live <= first < live + HOUR


@given(LIVE, HOURS)
def test_due_slots_and_their_inverse_agree(live: datetime, hours: int) -> None:
    """What the question to the database asks for is exactly what is due."""
    slot = first_slot(live) + hours * HOUR
    assert (first_slot(live) in first_slots_due(slot)) == (hours in LADDER)


@given(LIVE, HOURS, st.timedeltas(timedelta(0), timedelta(hours=1)))
def test_exactly_one_reading_may_be_taken_at_any_instant_of_a_posts_ladder(
    live: datetime, hours: int, into: timedelta
) -> None:
    """No instant has two open slots, and none between the first and the last has none."""
    now = first_slot(live) + hours * HOUR + into
    slots = [first_slot(live) + rung * HOUR for rung in LADDER]
    open_now = [slot for slot in slots if may_be_read(live, slot, now)]
    assert len(open_now) <= 1
    if slots[0] <= now < slots[-1]:
        assert open_now == [last_due(live, now)]


@given(LIVE, HOURS)
def test_the_next_due_instant_is_the_ladders_next(live: datetime, hours: int) -> None:
    slot = first_slot(live) + hours * HOUR
    following = next_due(live, slot)
    after = [first_slot(live) + rung * HOUR for rung in LADDER if rung > hours]
    assert following == (after[0] if after else None)

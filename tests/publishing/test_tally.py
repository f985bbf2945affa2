"""The summary of a window: counts, percentiles, the failure table."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitik_dagster.publishing.tally import Failure, Tally, percentile


def test_percentile_of_nothing_is_nothing() -> None:
    """No commit, no lateness: not zero."""
    assert percentile([], 50) is None


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_one_of_the_values_and_covers_its_share(
    values: list[float], percent: int
) -> None:
    """Nearest rank: at least `percent` of the values are not above it."""
    found = percentile(values, percent)
    assert found in values
    below = sum(value <= (found or 0.0) for value in values)
    assert below * 100 >= percent * len(values)


@pytest.mark.parametrize(
    ("values", "expected"), [([3.0, 1.0, 2.0], 2.0), ([1.0] * 99 + [9.0], 1.0)]
)
def test_the_median_is_the_middle(values: list[float], expected: float) -> None:
    """A plain recomputation."""
    assert percentile(values, 50) == expected


def test_a_reason_cannot_break_the_failure_table() -> None:
    """Pipes and newlines of a platform's words stay inside their cell."""
    tally = Tally()
    tally.failures.append(Failure("pub1", "tiktok", "bad", "a | b\nc"))
    lines = tally.failures_table().splitlines()
    assert len(lines) == 3
    assert lines[2].count("|") - lines[2].count("\\|") == 5


def test_the_summary_is_plain_data() -> None:
    """It goes into a JSON column and into Dagster's metadata."""
    summary: dict[str, Any] = Tally().summary()
    assert summary == {
        "claimed": 0,
        "outcomes": {},
        "lateness_ms": {"count": 0, "p50": None, "p99": None, "max": None},
        "failures": [],
    }

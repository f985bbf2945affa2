"""Waits grow from 2 s and are spread."""

from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from minitik_dagster.resilience.backoff import FIRST, MOST, backoff_delay


@given(st.integers(min_value=0, max_value=10_000), st.integers())
def test_a_wait_lies_between_half_and_one_and_a_half_of_its_step(attempts: int, seed: int) -> None:
    """2, 4, 8 … 300 s, times 0.5 to 1.5, whatever the number of attempts."""
    step = min(FIRST * 2 ** min(attempts, 30), MOST)
    assert step * 0.5 <= backoff_delay(attempts, Random(seed)) <= step * 1.5


def test_two_posts_that_failed_together_do_not_come_back_together() -> None:
    """Jitter: a platform that comes back is not run over."""
    random = Random(7)
    waits = {backoff_delay(3, random) for _ in range(100)}
    assert len(waits) == 100
    assert max(waits) - min(waits) > timedelta(seconds=8)


def test_the_same_draw_gives_the_same_wait() -> None:
    """Pure: the random source is the caller's."""
    assert backoff_delay(2, Random(1)) == backoff_delay(2, Random(1))

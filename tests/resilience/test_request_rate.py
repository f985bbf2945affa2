"""Requests of a key are counted over all processes, by each alone while Redis is away."""

import threading

import pytest

from minitik_dagster.errors import ConfigurationError
from minitik_dagster.local.ports import free_port
from minitik_dagster.resilience.request_rate import RequestRate, Taken

NOON = 1_800_000_000.0  # a minute's beginning


def test_two_processes_share_a_keys_minute_and_another_key_has_its_own(redis_url: str) -> None:
    """What is left and when it is whole again are exact; the next minute begins anew."""
    now = [NOON + 15]
    one, two = (RequestRate(redis_url, 3, lambda: now[0]) for _ in range(2))
    try:
        assert one.take("a") == Taken(limit=3, left=2, seconds=45, allowed=True)
        assert two.take("a").left == 1
        assert one.take("a") == Taken(limit=3, left=0, seconds=45, allowed=True)
        assert two.take("a") == Taken(limit=3, left=0, seconds=45, allowed=False)
        assert two.take("b").left == 2
        now[0] = NOON + 60
        assert two.take("a") == Taken(limit=3, left=2, seconds=60, allowed=True)
    finally:
        one.close()
        two.close()


def test_the_count_is_exact_under_concurrency(redis_url: str) -> None:
    rate = RequestRate(redis_url, 50, lambda: NOON)
    allowed: list[bool] = []

    def hurry() -> None:
        allowed.extend(rate.take("a").allowed for _ in range(10))

    threads = [threading.Thread(target=hurry) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate.close()
    assert allowed.count(True) == 50


@pytest.mark.parametrize("configured", [True, False])
def test_without_redis_each_process_counts_by_itself(configured: bool) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0" if configured else None
    one, two = (RequestRate(url, 2, lambda: NOON) for _ in range(2))
    assert [one.take("a").allowed for _ in range(3)] == [True, True, False]
    assert two.take("a").allowed
    one.close()
    two.close()


def test_an_outage_does_not_begin_with_an_empty_count(redis_url: str) -> None:
    """What this process has counted while Redis was there stands."""
    rate = RequestRate(redis_url, 2, lambda: NOON)
    rate.take("a")
    rate._down_until = NOON + 1
    assert rate.take("a").allowed
    assert not rate.take("a").allowed
    rate.close()


def test_the_headers_are_those_of_the_draft() -> None:
    assert Taken(600, 597, 42, allowed=True).headers() == {
        "RateLimit-Policy": '"default";q=600;w=60',
        "RateLimit": '"default";r=597;t=42',
    }


def test_a_url_that_is_none_is_told_as_the_environments_fault() -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        RequestRate("http://x", 1)

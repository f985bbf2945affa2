"""A Redis that hangs or is gone never holds up a post."""

import asyncio
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import ConfigurationError, DependencyDownError
from minitik_dagster.resilience.breaker import Breaker, read_states
from minitik_dagster.resilience.scripts import CONNECTIONS
from tests.resilience.hand import PATIENT, Hand, HangingRedis, hanging_redis


@pytest.fixture
def hanging() -> Iterator[HangingRedis]:
    """A server that takes connections and never says a word."""
    with hanging_redis() as server:
        yield server


def test_a_hanging_redis_costs_all_posts_of_an_instant_one_short_wait(
    hanging: HangingRedis,
) -> None:
    """Two hundred ask at once: a few wait together, each is allowed, with one log line."""

    async def play() -> list[bool]:
        breaker = Breaker(hanging.url, now=Hand())
        try:
            return await asyncio.gather(*(breaker.allows(Platform.TIKTOK) for _ in range(200)))
        finally:
            await breaker.aclose()

    with capture_logs() as lines:
        answers = asyncio.run(play())
    assert all(answers)
    assert hanging.connections() == CONNECTIONS
    assert [line["event"] for line in lines] == ["redis.down"]


def test_an_outage_is_told_once_and_its_end_too(redis_url: str) -> None:
    """Asked again every 5 s; only the change of state is news."""
    now = 1_800_000_000.0

    async def play() -> None:
        nonlocal now
        breaker = Breaker("redis://127.0.0.1:1/0", now=lambda: now)
        back = Breaker(redis_url, patience_seconds=PATIENT)
        for _ in range(3):
            await breaker.allows(Platform.TIKTOK)
            now += 6
        breaker._scripts._redis = back._scripts._redis
        for _ in range(2):
            await breaker.allows(Platform.TIKTOK)
        await breaker.aclose()

    with capture_logs() as lines:
        asyncio.run(play())
    assert [line["event"] for line in lines] == ["redis.down", "redis.up"]


def test_an_operators_question_to_a_hanging_redis_ends(hanging: HangingRedis) -> None:
    """It is asked once: the client library's own repeats would make it many seconds."""
    with pytest.raises(DependencyDownError, match="Redis does not answer"):
        read_states(hanging.url)
    assert hanging.connections() == 1


def test_a_url_that_is_none_is_refused_without_being_shown() -> None:
    """It may hold a password."""
    for make in (Breaker, read_states):
        with pytest.raises(ConfigurationError, match="REDIS_URL must begin with") as caught:
            make("http://:hunter2@redis/0")
        assert "hunter2" not in str(caught.value)

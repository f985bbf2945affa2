"""A Redis that hangs or is gone never holds up a post."""

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import ConfigurationError, DependencyDownError
from minitik_dagster.resilience.breaker import Breaker, read_states
from minitik_dagster.resilience.connections import OPERATOR_TIMEOUT_SECONDS


@pytest.fixture
def hanging_url() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_a_hanging_redis_costs_all_posts_of_an_instant_one_short_wait(hanging_url: str) -> None:
    """Two hundred ask at once: each is allowed, in well under a second, with one log line."""

    async def play() -> list[bool]:
        breaker = Breaker(hanging_url)
        try:
            return await asyncio.gather(*(breaker.allows(Platform.TIKTOK) for _ in range(200)))
        finally:
            await breaker.aclose()

    started = time.monotonic()
    with capture_logs() as lines:
        answers = asyncio.run(play())
    assert all(answers)
    assert time.monotonic() - started < 1.5
    assert [line["event"] for line in lines] == ["redis.down"]


def test_an_outage_is_told_once_and_its_end_too(redis_url: str) -> None:
    """Asked again every 5 s; only the change of state is news."""
    now = 1_800_000_000.0

    async def play() -> None:
        nonlocal now
        breaker = Breaker("redis://127.0.0.1:1/0", now=lambda: now)
        back = Breaker(redis_url)
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


def test_an_operators_question_to_a_hanging_redis_ends(hanging_url: str) -> None:
    """The client library's own repeats would make it many seconds."""
    started = time.monotonic()
    with pytest.raises(DependencyDownError, match="Redis does not answer"):
        read_states(hanging_url)
    assert time.monotonic() - started < OPERATOR_TIMEOUT_SECONDS * 2


def test_a_url_that_is_none_is_refused_without_being_shown() -> None:
    """It may hold a password."""
    for make in (Breaker, read_states):
        with pytest.raises(ConfigurationError, match="REDIS_URL must begin with") as caught:
            make("http://:hunter2@redis/0")
        assert "hunter2" not in str(caught.value)

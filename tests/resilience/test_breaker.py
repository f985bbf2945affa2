"""The breaker keeps the Redis contract: keys, counts, times, one probe."""

import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import redis

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import DependencyDownError
from minitik_dagster.resilience.breaker import Breaker, breaker_keys, read_states, reset_breaker
from tests.resilience.hand import PATIENT, Hand

STATE, FAILURES, OPENED_AT, PROBE = breaker_keys(Platform.TIKTOK)
_T = TypeVar("_T")


def using(url: str | None, hand: Hand, play: Callable[[Breaker], Awaitable[_T]]) -> _T:
    async def main() -> _T:
        breaker = Breaker(url, now=hand, patience_seconds=PATIENT)
        try:
            return await play(breaker)
        finally:
            await breaker.aclose()

    return asyncio.run(main())


async def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        await breaker.record_failure(Platform.TIKTOK)


def test_five_failures_open_it_under_the_contracts_keys(redis_url: str) -> None:
    """State OPEN, failures 5 with 60 s to live, opened_at in ms, state for 360 s."""
    hand = Hand()

    async def play(breaker: Breaker) -> tuple[bool, bool]:
        await fail(breaker, 4)
        before = await breaker.allows(Platform.TIKTOK)
        await fail(breaker, 1)
        return before, await breaker.allows(Platform.TIKTOK)

    assert using(redis_url, hand, play) == (True, False)
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    assert client.get(STATE) == "OPEN"
    assert client.get(FAILURES) == "5"
    assert client.get(OPENED_AT) == str(int(hand.at * 1000))
    assert 0 < int(str(client.ttl(FAILURES))) <= 60
    assert 300 < int(str(client.ttl(STATE))) <= 360
    client.close()


def test_an_operators_del_closes_it_at_once(redis_url: str) -> None:
    """The runbook's three DELs work as written."""

    async def play(breaker: Breaker) -> bool:
        await fail(breaker, 5)
        client = redis.Redis.from_url(redis_url)
        client.delete(STATE, FAILURES, OPENED_AT)
        client.close()
        return await breaker.allows(Platform.TIKTOK)

    assert using(redis_url, Hand(), play) is True


def test_after_300_seconds_one_caller_probes_and_a_success_closes_it(redis_url: str) -> None:
    """HALF_OPEN lets one through; the others wait for its answer."""
    hand = Hand()

    async def play(breaker: Breaker) -> list[bool]:
        await fail(breaker, 5)
        hand.at += 299
        answers = [await breaker.allows(Platform.TIKTOK)]
        hand.at += 1
        answers += [await breaker.allows(Platform.TIKTOK) for _ in range(3)]
        await breaker.record_success(Platform.TIKTOK)
        answers.append(await breaker.allows(Platform.TIKTOK))
        return answers

    assert using(redis_url, hand, play) == [False, True, False, False, True]


def test_a_failed_probe_opens_it_again(redis_url: str) -> None:
    """One failure in HALF_OPEN is enough."""
    hand = Hand()

    async def play(breaker: Breaker) -> list[bool]:
        await fail(breaker, 5)
        hand.at += 301
        answers = [await breaker.allows(Platform.TIKTOK)]
        await fail(breaker, 1)
        hand.at += 10
        answers.append(await breaker.allows(Platform.TIKTOK))
        return answers

    assert using(redis_url, hand, play) == [True, False]


def test_one_platforms_breaker_is_not_anothers(redis_url: str) -> None:
    """A failing TikTok holds no YouTube post."""

    async def play(breaker: Breaker) -> bool:
        await fail(breaker, 5)
        return await breaker.allows(Platform.YOUTUBE)

    assert using(redis_url, Hand(), play) is True


@pytest.mark.parametrize("url", [None, "redis://127.0.0.1:1/0"])
def test_without_redis_everything_is_allowed_until_this_process_sees_five_failures(
    url: str | None,
) -> None:
    """Redis down: allow all, with a process-local fallback."""
    hand = Hand()

    async def play(breaker: Breaker) -> list[bool]:
        answers = [await breaker.allows(Platform.TIKTOK)]
        await fail(breaker, 5)
        answers.append(await breaker.allows(Platform.TIKTOK))
        hand.at += 61
        answers.append(await breaker.allows(Platform.TIKTOK))
        return answers

    assert using(url, hand, play) == [True, False, True]


def _probe(url: str, at: float) -> bool:
    hand = Hand(at)

    async def play(breaker: Breaker) -> bool:
        return await breaker.allows(Platform.TIKTOK)

    return using(url, hand, play)


def test_of_many_processes_one_gets_the_probe(redis_url: str) -> None:
    """The transition is atomic across processes."""
    hand = Hand()

    async def play(breaker: Breaker) -> None:
        await fail(breaker, 5)

    using(redis_url, hand, play)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        answers = pool.starmap(_probe, [(redis_url, hand.at + 301)] * 12)
    assert sum(answers) == 1


def test_operators_read_and_reset_it(redis_url: str) -> None:
    """`breaker status` and `breaker reset`."""

    async def play(breaker: Breaker) -> None:
        await fail(breaker, 5)

    using(redis_url, Hand(), play)
    states = {item.platform: item for item in read_states(redis_url)}
    assert (states["tiktok"].state, states["tiktok"].failures) == ("OPEN", 5)
    assert states["youtube"].state == "CLOSED"
    reset_breaker(redis_url, Platform.TIKTOK)
    assert all(item.state == "CLOSED" for item in read_states(redis_url))


def test_a_reader_says_plainly_that_redis_is_down() -> None:
    """One class, which names the server."""
    with pytest.raises(DependencyDownError, match="Redis does not answer"):
        read_states("redis://127.0.0.1:1/0")

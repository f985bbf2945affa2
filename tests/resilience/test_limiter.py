"""The limiter keeps every budget, over all processes, with and without Redis."""

import asyncio
import multiprocessing
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import ConfigurationError
from minitik_dagster.resilience.connections import ENGINE_TIMEOUT_SECONDS
from minitik_dagster.resilience.limiter import Limiter
from minitik_dagster.resilience.limits_table import (
    CHARGES,
    HANDLE_CALL,
    LIMITS,
    budgets,
    default_budgets,
    slow_down,
)
from minitik_dagster.resilience.scripts import CONNECTIONS
from minitik_dagster.settings import LimitName, Settings, load_settings
from tests.resilience.hand import NOW, PATIENT, Hand, hanging_redis

_T = TypeVar("_T")
ZERO = timedelta(0)


def using(
    url: str | None,
    hand: Hand,
    play: Callable[[Limiter], Awaitable[_T]],
    budgets: dict[LimitName, int] | None = None,
    patience_seconds: float = PATIENT,
) -> _T:
    async def main() -> _T:
        limiter = Limiter(
            url, hand, budgets=budgets, sleep=hand.sleep, patience_seconds=patience_seconds
        )
        try:
            return await play(limiter)
        finally:
            await limiter.aclose()

    return asyncio.run(main())


async def init(limiter: Limiter, account: str = "acc1") -> timedelta:
    return await limiter.reserve(Platform.TIKTOK, account, "init")


def stored(url: str) -> dict[str, int]:
    client = redis.Redis.from_url(url, decode_responses=True)
    try:
        return {key: int(str(client.get(key))) for key in client.scan_iter("*")}
    finally:
        client.close()


def test_the_keys_are_the_contracts(redis_url: str) -> None:
    """rate_limit:<platform>:<accountId or app>:<seconds>:<floor(epoch / seconds)>, used units."""

    async def play(limiter: Limiter) -> None:
        await init(limiter)
        await limiter.reserve(Platform.INSTAGRAM, "acc2", "container")
        await limiter.reserve(Platform.YOUTUBE, "acc3", "session")

    using(redis_url, Hand(), play)
    pacific_day = (datetime(2027, 1, 15, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days
    assert stored(redis_url) == {
        "rate_limit:tiktok:acc1:60:30000000": 1,
        "rate_limit:tiktok:acc1:3600:500000": 1,
        "rate_limit:tiktok:acc1.creator_info:60:30000000": 1,
        "rate_limit:instagram:acc2:3600:500000": 1,
        "rate_limit:instagram:acc2:86400:20833": 1,
        f"rate_limit:youtube:app:86400:{pacific_day}": 1,
        f"rate_limit:youtube:app.units:86400:{pacific_day}": 56,
    }


def test_counters_end_by_themselves(redis_url: str) -> None:
    """No window's counter outlives its window by more than an hour."""

    async def play(limiter: Limiter) -> None:
        await init(limiter)

    using(redis_url, Hand(), play)
    client = redis.Redis.from_url(redis_url)
    lives = {key: int(str(client.ttl(key))) for key in client.scan_iter("*")}
    client.close()
    assert len(lives) == 3
    assert all(0 < seconds <= 3600 + 3600 for seconds in lives.values())


@pytest.mark.parametrize("shared", [True, False])
def test_the_fourth_upload_of_a_minute_waits_for_the_next(redis_url: str, shared: bool) -> None:
    """Half of TikTok's six a minute; the answer is what is left of the window; nothing is taken."""
    hand = Hand()

    async def play(limiter: Limiter) -> list[timedelta]:
        answers = [await init(limiter) for _ in range(5)]
        hand.at += answers[-1].total_seconds()
        return [*answers, await init(limiter)]

    answers = using(redis_url if shared else None, hand, play)
    assert answers == [ZERO, ZERO, ZERO, timedelta(seconds=50), timedelta(seconds=50), ZERO]


def test_one_accounts_budget_is_not_anothers_but_the_apps_is(redis_url: str) -> None:
    """TikTok counts per token, YouTube per project."""

    async def play(limiter: Limiter) -> tuple[timedelta, timedelta]:
        for _ in range(3):
            await init(limiter, "one")
            await limiter.reserve(Platform.YOUTUBE, "one", "session")
        return (
            await init(limiter, "two"),
            await limiter.reserve(Platform.YOUTUBE, "two", "session"),
        )

    tiktok, youtube = using(redis_url, Hand(), play, {"youtube.uploads": 3})
    assert tiktok == ZERO
    assert youtube > ZERO


@pytest.mark.parametrize(
    ("at", "midnight"),
    [
        ("2026-11-24T10:00:00+00:00", "2026-11-25T08:00:00+00:00"),  # winter time
        ("2026-07-01T06:59:00+00:00", "2026-07-01T07:00:00+00:00"),  # summer time
        ("2026-11-01T07:30:00+00:00", "2026-11-02T08:00:00+00:00"),  # a day of 25 hours
        ("2026-03-08T08:30:00+00:00", "2026-03-09T07:00:00+00:00"),  # a day of 23 hours
    ],
)
def test_youtubes_day_ends_at_midnight_in_california(
    redis_url: str, at: str, midnight: str
) -> None:
    """YouTube resets its quota then, not at midnight UTC."""
    hand = Hand(datetime.fromisoformat(at).timestamp())

    async def play(limiter: Limiter) -> timedelta:
        await limiter.reserve(Platform.YOUTUBE, "a", "session")
        return await limiter.reserve(Platform.YOUTUBE, "a", "session")

    wait = using(redis_url, hand, play, {"youtube.uploads": 1})
    assert datetime.fromisoformat(at) + wait == datetime.fromisoformat(midnight)


def test_a_call_takes_from_all_its_windows_or_from_none(redis_url: str) -> None:
    """A refused post leaves no trace in the windows that had room."""

    async def play(limiter: Limiter) -> timedelta:
        await init(limiter)
        return await init(limiter)

    wait = using(redis_url, Hand(), play, {"tiktok.posts": 1})
    assert wait == timedelta(seconds=3590)
    assert set(stored(redis_url).values()) == {1}


def test_a_nearly_used_up_budget_slows_calls_down(redis_url: str) -> None:
    """0, 0.5, 2 and 5 s from 0, 70, 85 and 95 % on."""
    hand = Hand()

    async def play(limiter: Limiter) -> None:
        for _ in range(20):
            assert await limiter.reserve(Platform.TIKTOK, "a", "status") == ZERO

    using(redis_url, hand, play, {"tiktok.status": 20})
    assert hand.slept == [0.5, 0.5, 0.5, 2, 2, 5]
    assert slow_down(0.69) == ZERO


@given(
    calls=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["a", "b"]), st.integers(0, 40)), max_size=40
    ),
    budget=st.integers(1, 5),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_in_no_order_of_calls_is_a_window_overrun(
    calls: list[tuple[int, str, int]], budget: int
) -> None:
    """Whoever asks when, each window holds its budget; a wait always leads to room."""
    hand = Hand()
    granted: dict[tuple[str, int], int] = {}

    async def play(limiter: Limiter) -> None:
        for _, account, seconds in calls:
            hand.at += seconds
            wait = await init(limiter, account)
            window = (account, int(hand.at // 60))
            if wait == ZERO:
                granted[window] = granted.get(window, 0) + 1
            else:
                assert granted[window] == budget
                assert int((hand.at + wait.total_seconds()) // 60) == window[1] + 1

    using(
        None, hand, play, {"tiktok.init": budget, "tiktok.posts": 1000, "tiktok.creator_info": 99}
    )
    assert all(count <= budget for count in granted.values())


def _reserve_many(url: str, at: float, times: int) -> int:
    hand = Hand(at)

    async def play(limiter: Limiter) -> int:
        answers = await asyncio.gather(
            *(limiter.reserve(Platform.INSTAGRAM, "busy", "container") for _ in range(times))
        )
        return answers.count(ZERO)

    return using(url, hand, play)


def test_many_processes_together_never_exceed_a_budget(redis_url: str) -> None:
    """Half of Instagram's hundred an hour, whoever asks: exactly 50 of 240 are given."""
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        taken = pool.starmap(_reserve_many, [(redis_url, NOW, 60)] * 4)
    assert sum(taken) == 50
    assert stored(redis_url)["rate_limit:instagram:busy:3600:500000"] == 50


@pytest.fixture
def shut_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_without_redis_the_process_counts_by_itself_and_says_so_once(shut_port: int) -> None:
    """The platform's limit holds for this process; one line for the whole outage."""

    async def play(limiter: Limiter) -> list[timedelta]:
        return [await init(limiter) for _ in range(4)]

    with capture_logs() as lines:
        answers = using(f"redis://127.0.0.1:{shut_port}/0", Hand(), play)
    assert answers == [ZERO, ZERO, ZERO, timedelta(seconds=50)]
    assert [line["event"] for line in lines] == ["redis.down"]


def test_a_hanging_redis_is_asked_by_a_few_calls_once() -> None:
    """A hundred posts at once do not wait for it one after the other: the first few wait together."""

    async def play(limiter: Limiter) -> list[timedelta]:
        return await asyncio.gather(*(init(limiter, f"acc{n}") for n in range(100)))

    with hanging_redis() as redis_that_hangs:
        answers = using(redis_that_hangs.url, Hand(), play, patience_seconds=ENGINE_TIMEOUT_SECONDS)
        assert redis_that_hangs.connections() == CONNECTIONS
    assert answers == [ZERO] * 100


def test_what_was_used_during_an_outage_counts_when_redis_is_back(
    redis_url: str, shut_port: int
) -> None:
    """Two uploads in the dark leave one of three; this process' earlier ones count in the dark."""
    hand = Hand()

    async def play() -> list[timedelta]:
        limiter = Limiter(f"redis://127.0.0.1:{shut_port}/0", hand, sleep=hand.sleep)
        back = Limiter(redis_url, hand, patience_seconds=PATIENT)
        answers = [await init(limiter), await init(limiter)]
        limiter._scripts._redis, gone = back._scripts._redis, limiter._scripts._redis
        hand.at += 6
        answers += [await init(limiter), await init(limiter)]
        limiter._scripts._redis = gone
        answers.append(await init(limiter))
        await back.aclose()
        await limiter.aclose()
        return answers

    answers = asyncio.run(play())
    assert answers == [ZERO, ZERO, ZERO, timedelta(seconds=44), timedelta(seconds=44)]
    assert stored(redis_url)["rate_limit:tiktok:acc1:60:30000000"] == 3


def test_an_operators_del_gives_a_budget_back_at_once(redis_url: str) -> None:
    """What Redis says rules while it answers; no process remembers another truth."""

    async def play(limiter: Limiter) -> timedelta:
        for _ in range(3):
            await init(limiter)
        client = redis.Redis.from_url(redis_url)
        client.delete("rate_limit:tiktok:acc1:60:30000000")
        client.close()
        return await init(limiter)

    assert using(redis_url, Hand(), play) == ZERO


def test_half_of_every_limit_is_used_unless_settings_say_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MINITIK_TIKTOK_INIT_PER_MINUTE and MINITIK_LIMITS override the table."""
    assert budgets(Settings()) == default_budgets()
    assert all(default_budgets()[name] * 2 == limit.units for name, limit in LIMITS.items())
    monkeypatch.setenv("MINITIK_TIKTOK_INIT_PER_MINUTE", "5")
    monkeypatch.setenv("MINITIK_LIMITS", '{"youtube.uploads": 1000}')
    changed = budgets(Settings())
    assert (changed["tiktok.init"], changed["youtube.uploads"]) == (5, 1000)
    assert changed["instagram.posts"] == 50


def test_a_budget_no_call_fits_into_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would let every post wait for ever."""
    monkeypatch.setenv("MINITIK_LIMITS", '{"youtube.units": 10}')
    with pytest.raises(ConfigurationError, match=r"youtube\.units is 10, but one call takes 56"):
        budgets(Settings())


@pytest.mark.parametrize(
    "bad",
    ["none", "[]", '{"myspace.init": 3}', '{"tiktok.posts": 0}', '{"tiktok.posts": "many"}'],
)
def test_a_bad_budget_is_a_bad_environment(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    """Named with every other problem at start."""
    monkeypatch.setenv("MINITIK_LIMITS", bad)
    monkeypatch.setenv("MINITIK_CLAIM_LIMIT", "0")
    with pytest.raises(ConfigurationError, match="MINITIK_LIMITS") as caught:
        load_settings()
    assert "MINITIK_CLAIM_LIMIT" in str(caught.value)


def test_every_platforms_handle_and_every_charge_is_in_the_table() -> None:
    """Each call's platform is that of the limits it takes from, and fits into their budgets."""
    assert set(HANDLE_CALL) == set(Platform)
    assert all((platform, call) in CHARGES for platform, call in HANDLE_CALL.items())
    for (platform, _), taken in CHARGES.items():
        for name, units in taken.items():
            assert LIMITS[name].platform is platform
            assert units <= default_budgets()[name]
    assert {name for taken in CHARGES.values() for name in taken} == set(LIMITS)

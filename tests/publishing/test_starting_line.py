"""Posts due at one instant go in a fair order, and nobody goes early."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from minitik_dagster.clock import boottime
from minitik_dagster.db.types import JobPriority, Platform
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.publishing.starting_line import Runner, StartingLine, fair_order

RUNNERS = st.builds(
    Runner,
    priority=st.sampled_from(JobPriority),
    platform=st.sampled_from(Platform),
    account_id=st.sampled_from(["a", "b", "c", "d"]),
)
_RANK = [JobPriority.HIGH, JobPriority.NORMAL, JobPriority.LOW]
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class BootClock:
    """A DatabaseClock's face without a database."""

    def until(self, instant: datetime) -> float:
        return (instant - EPOCH).total_seconds() - boottime()


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=boottime() + seconds)


def ordered(runners: list[Runner]) -> list[Runner]:
    loop = asyncio.new_event_loop()
    try:
        return [runner for runner, _ in fair_order([(r, loop.create_future()) for r in runners])]
    finally:
        loop.close()


@given(st.lists(RUNNERS, max_size=40))
def test_priorities_go_first_and_nobody_is_lost(runners: list[Runner]) -> None:
    """HIGH before NORMAL before LOW; the order is a permutation."""
    found = ordered(runners)
    assert sorted(map(repr, found)) == sorted(map(repr, runners))
    ranks = [_RANK.index(runner.priority) for runner in found]
    assert ranks == sorted(ranks)


@given(st.lists(RUNNERS, max_size=40))
def test_no_account_goes_twice_before_another_has_gone_once(runners: list[Runner]) -> None:
    """Within a priority the k-th posts of all accounts go before anybody's (k+1)-th."""
    turns: dict[tuple[JobPriority, str], int] = {}
    seen: dict[JobPriority, int] = {}
    for runner in ordered(runners):
        turn = turns.get((runner.priority, runner.account_id), 0)
        turns[runner.priority, runner.account_id] = turn + 1
        assert turn >= seen.get(runner.priority, 0)
        seen[runner.priority] = turn


def test_platforms_take_turns() -> None:
    """A thousand TikToks do not keep one YouTube post waiting."""
    runners = [Runner(JobPriority.NORMAL, Platform.TIKTOK, f"t{place}") for place in range(100)] + [
        Runner(JobPriority.NORMAL, Platform.YOUTUBE, "y")
    ]
    assert ordered(runners).index(runners[-1]) <= 1


def test_everybody_goes_at_the_own_instant_also_when_an_earlier_one_comes_later() -> None:
    """One timer serves all; a nearer instant that arrives later is not kept waiting."""

    async def main() -> list[tuple[str, bool]]:
        line = StartingLine(cast("DatabaseClock", BootClock()))
        gone: list[tuple[str, bool]] = []

        async def run(name: str, seconds: float) -> None:
            instant = at(seconds)
            await line.wait(instant, Runner(JobPriority.NORMAL, Platform.TIKTOK, name))
            gone.append((name, BootClock().until(instant) <= 0))

        late = asyncio.create_task(run("late", 0.15))
        await asyncio.sleep(0.01)
        await asyncio.gather(run("soon", 0.05), run("past", -1.0))
        await late
        return gone

    assert asyncio.run(main()) == [("past", True), ("soon", True), ("late", True)]

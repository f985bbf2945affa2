"""Group: what many ask within a few milliseconds is done in one call."""

import asyncio

import pytest

from minitik_dagster.publishing.grouping import Group


def test_many_callers_share_one_call_and_each_gets_its_own_answer() -> None:
    """Answers come back in the order of the items."""
    calls: list[list[int]] = []

    async def double(items: list[int]) -> list[int]:
        calls.append(items)
        return [item * 2 for item in items]

    async def main() -> list[int]:
        group: Group[int, int] = Group(double)
        return list(await asyncio.gather(*(group.ask(n) for n in range(100))))

    assert asyncio.run(main()) == [n * 2 for n in range(100)]
    assert len(calls) == 1


def test_a_failing_call_reaches_every_caller_and_the_group_goes_on() -> None:
    """One bad call does not wedge the next."""
    fail = True

    async def once(items: list[int]) -> list[int]:
        if fail:
            raise RuntimeError("no")
        return items

    async def main() -> list[int]:
        nonlocal fail
        group: Group[int, int] = Group(once)
        results = await asyncio.gather(group.ask(1), group.ask(2), return_exceptions=True)
        assert [type(result) for result in results] == [RuntimeError, RuntimeError]
        fail = False
        return [await group.ask(3)]

    assert asyncio.run(main()) == [3]


def test_a_caller_that_was_cancelled_does_not_disturb_the_others() -> None:
    """The group's own work is not any caller's task."""

    async def slow(items: list[int]) -> list[int]:
        await asyncio.sleep(0.02)
        return items

    async def main() -> int:
        group: Group[int, int] = Group(slow)
        first, second = (asyncio.create_task(group.ask(n)) for n in (1, 2))
        await asyncio.sleep(0.01)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    assert asyncio.run(main()) == 2

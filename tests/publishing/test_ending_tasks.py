"""A dispatcher that winds up ends its tasks, whatever the libraries below make of a cancellation."""

import asyncio

from minitik_dagster.publishing.dispatcher import end


def test_a_task_whose_cancellation_was_swallowed_is_ended_all_the_same() -> None:
    """Python 3.11's wait_for returns its result where the cancellation comes in the same moment."""
    looks = 0

    async def answer() -> None:
        """A write that goes through at once, as to Redis."""

    async def watch() -> None:
        nonlocal looks
        while True:
            looks += 1
            await asyncio.wait_for(asyncio.ensure_future(answer()), 0.25)
            if looks > 1:
                await asyncio.Event().wait()

    async def scene() -> tuple[asyncio.Task[None], int]:
        task = asyncio.create_task(watch())
        await asyncio.sleep(0)  # it stands in wait_for now
        await asyncio.sleep(0)  # the write is done, and wait_for has not looked yet
        async with asyncio.timeout(30):
            await end([task])
        return task, looks

    task, looked = asyncio.run(scene())
    assert task.cancelled()
    assert looked == 2, "the first cancellation was not swallowed: this test shows nothing"


def test_tasks_that_have_ended_or_failed_are_no_hindrance() -> None:
    async def fail() -> None:
        raise OSError

    async def scene() -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(fail()), asyncio.create_task(asyncio.sleep(60))]
        await asyncio.sleep(0)
        await end(tasks)
        await end([])
        return tasks

    failed, slept = asyncio.run(scene())
    assert isinstance(failed.exception(), OSError)
    assert slept.cancelled()

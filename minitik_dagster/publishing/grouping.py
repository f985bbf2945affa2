"""Questions of many posts at one instant, asked of the database together."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

_GATHER_SECONDS: Final = 0.004

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class Group(Generic[_Item, _Answer]):
    """Collects what callers ask within a few milliseconds and does it in one call."""

    def __init__(self, run: Callable[[list[_Item]], Awaitable[list[_Answer]]]) -> None:
        self._run = run
        self._waiting: list[tuple[_Item, asyncio.Future[_Answer]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, item: _Item) -> _Answer:
        """Return the answer for this item, in the order of `run`'s list."""
        future: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        while self._waiting:
            await asyncio.sleep(_GATHER_SECONDS)
            batch, self._waiting = self._waiting, []
            try:
                answers = await self._run([item for item, _ in batch])
            except Exception as error:
                # Whatever it is belongs to those who asked: each of them decides what it means.
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

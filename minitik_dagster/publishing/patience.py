"""Waits for PostgreSQL with what may be said again: a platform's answer in memory outlives a restart."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError

_log = structlog.get_logger(__name__)
_PAUSES = (0.1, 0.2, 0.5, 1.0)
_T = TypeVar("_T")


async def patiently(run: Callable[[], Awaitable[_T]]) -> _T:
    """Repeat `run` until the database answers; `run` must be safe to repeat when its COMMIT was lost.

    Ends with the caller's cancellation: a lease that was lost meanwhile, or a drain.
    """
    tries = 0
    while True:
        try:
            return await run()
        except (OperationalError, InterfaceError) as error:
            if tries == 0:
                _log.warning("database.waiting", reason=type(error.orig).__name__)
            pause = _PAUSES[min(tries, len(_PAUSES) - 1)]
            tries += 1
        await asyncio.sleep(pause)

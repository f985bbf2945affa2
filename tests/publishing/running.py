"""Runs a dispatcher in this process until what the test waits for is true."""

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from minitik_dagster.db.models import Publication
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.publishing.engine import dispatch

Done = Callable[[list[Publication]], bool]


def all_at(*stages: str) -> Done:
    """Every publication stands at one of these stages."""
    return lambda rows: bool(rows) and all(row.stage in stages for row in rows)


def run_until(
    bench: Workbench,
    ids: list[str],
    done: Done,
    *,
    seconds: float = 40,
    meanwhile: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Run one dispatcher until `done` of the publications; TimeoutError after `seconds`.

    `meanwhile` is called at each look, off the loop. Ends the dispatcher as an operator does: SIGTERM.
    """

    async def main() -> dict[str, Any]:
        task = asyncio.create_task(
            dispatch(bench.settings, kind="resident", window=timedelta(hours=1))
        )
        async with asyncio.timeout(seconds):
            while not task.done() and not done(await asyncio.to_thread(bench.rows, ids)):
                if meanwhile is not None:
                    await asyncio.to_thread(meanwhile)
                await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        summary, _ = await task
        return summary

    return asyncio.run(main())

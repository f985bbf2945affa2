"""One dispatcher, real servers: posts travel from scheduled to live."""

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import Platform, PublicationStatus
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.publishing.engine import dispatch
from minitik_dagster.publishing.tally import Tally

ALL = tuple(Platform)


def run_until(
    bench: Workbench,
    ids: list[str],
    done: Callable[[list[Publication]], bool],
    *,
    seconds: float = 40,
) -> tuple[dict[str, Any], Tally]:
    """Run a dispatcher in this process until `done` of the publications, at most `seconds`."""

    async def main() -> tuple[dict[str, Any], Tally]:
        task = asyncio.create_task(
            dispatch(
                bench.settings,
                kind="resident",
                window=timedelta(seconds=3600),
            )
        )
        async with asyncio.timeout(seconds):
            while not done(await asyncio.to_thread(bench.rows, ids)):
                if task.done():
                    break
                await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        return await task

    return asyncio.run(main())


def all_at(stage: str) -> Callable[[list[Publication]], bool]:
    return lambda rows: bool(rows) and all(row.stage == stage for row in rows)


@pytest.mark.parametrize("size", [300_000, 11_500_000])
def test_a_post_goes_live_on_all_three_platforms_at_its_instant(
    workbench: Workbench, size: int
) -> None:
    """Each platform shows the same bytes exactly once, never early, and the rows say so."""
    accounts = [(workbench.add_account(platform), platform) for platform in ALL]
    video = workbench.add_video(size)
    due_at = workbench.now() + timedelta(seconds=6)
    ids = workbench.schedule(video, accounts, due_at)
    summary, _ = run_until(workbench, ids, all_at("live"))
    rows = workbench.rows(ids)
    assert {row.status for row in rows} == {PublicationStatus.PUBLISHED}
    posts = workbench.public_posts(video)
    assert sorted(post["platform"] for post in posts) == ["instagram", "tiktok", "youtube"]
    for row in rows:
        assert row.committed_at is not None
        late = row.committed_at - due_at
        assert timedelta(0) <= late < timedelta(seconds=1), late
        assert row.accepted_at is not None
        assert row.verified_at is not None
        assert row.lease_owner is None
    assert summary["lateness_ms"]["count"] == 3

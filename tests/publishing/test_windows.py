"""Resident dispatchers' windows are shown in Dagster, at least once, also after a kill."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from dagster import AssetMaterialization, DagsterInstance, SensorResult, build_sensor_context
from sqlalchemy import text

from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.db.types import Platform
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.publishing.store import Store
from minitik_dagster.publishing.tally import Tally
from minitik_dagster.publishing.windows import WindowReports, unshown
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.sensors.resident_windows import resident_windows
from tests.publishing.running import all_at, run_until


def _tick(cursor: str | None) -> tuple[list[AssetMaterialization], str | None]:
    with DagsterInstance.ephemeral() as instance:
        context = build_sensor_context(instance=instance, cursor=cursor)
        result = resident_windows(context, database=DatabaseResource())
    if not isinstance(result, SensorResult):
        return [], cursor
    events: list[Any] = list(result.asset_events)
    return events, result.cursor


@pytest.mark.slow
def test_a_resident_dispatchers_window_is_shown_once(workbench: Workbench) -> None:
    """What the dispatcher did stands in the asset as a run's work does."""
    account = workbench.add_account(Platform.YOUTUBE)
    video = workbench.add_video()
    due_at = workbench.now() + timedelta(seconds=3)
    ids = workbench.schedule(video, [(account, Platform.YOUTUBE)], due_at)
    run_until(workbench, ids, all_at("live"))
    events, cursor = _tick(None)
    (event,) = events
    assert event.asset_key.to_user_string() == "publications"
    assert event.metadata["posts_committed"].value == 1
    assert "lateness_p50_ms" in event.metadata
    # The tick was not stored (no cursor came back): shown again, never lost.
    assert len(_tick(None)[0]) == 1
    again, cursor = _tick(cursor)
    assert again == []
    assert _tick(cursor)[0] == []


def test_a_killed_dispatchers_last_figures_are_shown(workbench: Workbench) -> None:
    """It could not close its window; what it noted in the last minute is its report."""
    noted = Tally().summary() | {"claimed": 7, "windowStartedAt": "2026-01-01T00:00:00.000Z"}
    with workbench.engine.begin() as connection:
        connection.execute(
            text(
                'INSERT INTO dispatchers (id, kind, instance, host, pid, "startedAt", '
                "\"heartbeatAt\", summary) SELECT 'dead', 'resident', 'default', 'h', 1, "
                "now - interval '1 hour', now - interval '30 minutes', CAST(:noted AS jsonb) "
                "FROM (SELECT statement_timestamp() AT TIME ZONE 'UTC' AS now) clock"
            ),
            {"noted": json.dumps(noted)},
        )
        (window,) = unshown(connection, shown=[], limit=5)
        assert (window.dispatcher, window.killed, window.summary["claimed"]) == ("dead", True, 7)
        assert window.started_at == "2026-01-01T00:00:00.000Z"
        assert window.ended_at.endswith("Z")
        assert unshown(connection, shown=[window.id], limit=5) == []
    assert _tick(None)[0] == []


def test_each_window_counts_for_itself(workbench: Workbench) -> None:
    """Figures begin anew: a dispatcher of weeks neither grows nor blurs."""

    async def main() -> list[int]:
        engine = make_async_engine(workbench.settings.require_database_url(), pool_size=2)
        clock, tally = DatabaseClock(engine), Tally()
        await clock.sample()
        reports = WindowReports(
            Store(engine, "resident-1"), clock, tally, timedelta(0), timedelta(milliseconds=20)
        )
        running = asyncio.create_task(reports.run())
        for claimed in (5, 3):
            tally.claimed = claimed
            async with asyncio.timeout(10):
                while tally.claimed:  # noqa: ASYNC110 - a bounded poll: the tally raises no event
                    await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await engine.dispose()
        with workbench.engine.begin() as connection:
            windows = unshown(connection, shown=[], limit=1000)
        return [window.summary["claimed"] for window in windows if window.summary["claimed"]]

    assert asyncio.run(main()) == [5, 3]

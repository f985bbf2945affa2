"""Backfills as a person starts them in the UI: Dagster's own machinery, its code server and its runs."""

import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._time import get_current_timestamp

from minitik_dagster.analytics.names import DAILY, USER_DAILY, YOUTUBE_DAILY
from minitik_dagster.db.types import Platform
from minitik_dagster.ids import new_id
from minitik_dagster.local.ports import free_port
from minitik_dagster.local.process import ChildProcess
from tests.analytics.scene import AnalyticsScene, this_hour

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # Dagster's own, in its backfill code.
    pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources`:DeprecationWarning"),
]
# A run is started where it is asked for: no daemon works a queue here.
_AT_ONCE = {
    "run_coordinator": {
        "module": "dagster._core.run_coordinator",
        "class": "DefaultRunCoordinator",
    }
}
TODAY = datetime.now(UTC).date()


@pytest.fixture
def workspace(scene: AnalyticsScene, tmp_path: Path) -> Iterator[WorkspaceProcessContext]:
    """A code server of these definitions, on the scene's servers, and an instance of its own."""
    port = free_port()
    server = ChildProcess(
        "code server",
        [
            *(str(Path(sys.executable).with_name("dagster")), "api", "grpc"),
            *("--module-name", "minitik_dagster.definitions"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        log=tmp_path / "code-server.log",
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
        grace_seconds=20,
    )
    target = GrpcServerTarget("127.0.0.1", port, None, "minitik")
    server.start()
    try:
        server.wait_until(lambda: _answers(port), timeout_seconds=90)
        with (
            DagsterInstance.local_temp(str(tmp_path), overrides=_AT_ONCE) as instance,
            create_test_daemon_workspace_context(target, instance) as context,
        ):
            yield context
    finally:
        server.stop()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def backfill(
    workspace: WorkspaceProcessContext, asset: str, keys: list[str]
) -> tuple[BulkActionStatus, list[Any]]:
    """Start a backfill, let the daemon's iteration work until it has ended; its state and runs."""
    instance, backfill_id = workspace.instance, new_id()
    graph = workspace.create_request_context().asset_graph
    instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id=backfill_id,
            asset_graph=graph,
            partition_names=keys,
            asset_selection=[AssetKey(asset)],
            backfill_timestamp=get_current_timestamp(),
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    )
    deadline = time.monotonic() + 100
    while True:
        list(execute_backfill_iteration(workspace, logging.getLogger("backfill")))
        found = instance.get_backfill(backfill_id)
        assert found is not None
        if found.status is not BulkActionStatus.REQUESTED:
            runs = instance.get_runs(RunsFilter(tags={BACKFILL_ID_TAG: backfill_id}))
            return found.status, list(runs)
        assert time.monotonic() < deadline, found.status
        time.sleep(0.5)


def days(first: int, last: int) -> list[str]:
    """The days from `first` days ago to `last` days ago."""
    return [f"{TODAY - timedelta(days=n):%Y-%m-%d}" for n in range(first, last - 1, -1)]


def test_a_backfill_of_channels_is_one_run_and_one_call_each_and_the_same_when_run_twice(
    workspace: WorkspaceProcessContext, scene: AnalyticsScene
) -> None:
    """38 days of two channels: one process, two calls; again: identical documents."""
    for age in (30, 12):
        account = scene.account(Platform.YOUTUBE)
        scene.post(account, live_at=datetime.now(UTC) - timedelta(days=age))
    found = []
    for _ in range(2):
        scene.sandbox.call("DELETE", "/_sandbox/calls")
        status, runs = backfill(workspace, "youtube_daily_reports", days(40, 3))
        assert status is BulkActionStatus.COMPLETED_SUCCESS
        assert [run.status for run in runs] == [DagsterRunStatus.SUCCESS]
        assert len([c for c in scene.sandbox.calls() if c["operation"] == "analytics"]) == 2
        found.append(scene.documents(YOUTUBE_DAILY))
    assert found[0] == found[1]
    assert 35 < len(found[0]) < 42


def test_a_backfill_of_days_is_a_run_a_month_and_the_same_when_run_twice(
    workspace: WorkspaceProcessContext, scene: AnalyticsScene
) -> None:
    """34 days: two processes; 31 of them again, in one: identical documents, by account and by person."""
    post = scene.post(scene.account(Platform.TIKTOK))
    for n in (30, 12, 3):
        scene.reading(post, datetime.now(UTC) - timedelta(days=n), views=1_000 - 10 * n)
    found = []
    for first, processes in ((34, 2), (31, 1)):
        status, runs = backfill(workspace, "daily_metrics", days(first, 1))
        assert status is BulkActionStatus.COMPLETED_SUCCESS
        assert [run.status for run in runs] == [DagsterRunStatus.SUCCESS] * processes
        found.append((scene.documents(DAILY), scene.documents(USER_DAILY)))
    assert found[0] == found[1]
    assert (len(found[0][0]), len(found[0][1])) == (3, 6)


def test_a_backfill_over_past_hours_is_one_run_and_says_that_they_cannot_be_had(
    workspace: WorkspaceProcessContext, scene: AnalyticsScene
) -> None:
    """Nothing is filled in: what was skipped counts as not made, and the run tells why."""
    live = this_hour() - timedelta(hours=20, minutes=10)
    scene.post(scene.account(Platform.TIKTOK), live_at=live, counts={"views": 9})
    hours = [f"{this_hour() - timedelta(hours=n):%Y-%m-%d-%H}:00" for n in range(12, 1, -1)]
    status, runs = backfill(workspace, "metric_snapshots", hours)
    assert status is BulkActionStatus.COMPLETED_FAILED
    assert [run.status for run in runs] == [DagsterRunStatus.SUCCESS]
    observed = [
        entry.dagster_event.asset_observation_data.asset_observation
        for entry in workspace.instance.all_logs(runs[0].run_id)
        if entry.dagster_event and entry.dagster_event.event_type_value == "ASSET_OBSERVATION"
    ]
    assert sorted(str(one.partition) for one in observed) == hours
    assert all("no platform tells" in str(one.metadata["skipped"].value) for one in observed)
    assert scene.documents() == []

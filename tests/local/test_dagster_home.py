"""The instance of the stack: dagster.yaml is understood as meant, and its storage works."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterInstance
from dagster._core.run_coordinator import QueuedRunCoordinator

from minitik_dagster.local.dagster_home import prepare_dagster_home, project_file


@dg.op
def speak(context: dg.OpExecutionContext) -> None:
    context.log.info("said")


@dg.job(executor_def=dg.in_process_executor)
def speaking() -> None:
    speak()


@pytest.fixture
def instance(
    tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DagsterInstance]:
    """An instance as `minitik up` makes it, on a database of its own."""
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", empty_database_url)
    prepare_dagster_home(tmp_path)
    with DagsterInstance.from_config(str(tmp_path)) as found:
        yield found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_and_its_events_are_kept_in_postgresql(instance: DagsterInstance) -> None:
    """A plain postgresql:// URL works: each stored event also sends a NOTIFY with a bound value."""
    result = speaking.execute_in_process(instance=instance)
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.is_success
    messages = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "said" in messages


def test_the_queue_keeps_slots_for_publishing(instance: DagsterInstance) -> None:
    """Fewer backfill runs than slots, a short dequeue interval, threads."""
    coordinator = instance.run_coordinator
    assert isinstance(coordinator, QueuedRunCoordinator)
    queue = coordinator.get_run_queue_config()
    limits = {limit["key"]: limit["limit"] for limit in queue.tag_concurrency_limits}
    # Both at once as well: an hour's catching up must not keep a dispatcher's run waiting.
    assert limits["dagster/backfill"] + limits["minitik/kind"] < queue.max_concurrent_runs
    assert coordinator.dequeue_interval_seconds == 1
    assert coordinator.dequeue_use_threads


def test_runs_are_watched_and_never_resumed_or_retried(instance: DagsterInstance) -> None:
    """Our own leases own retry; a run that hangs loses its slot after 20 minutes."""
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_resume_run_attempts == 0
    assert instance.run_monitoring_settings["max_runtime_seconds"] == 1200
    assert instance.run_retries_max_retries == 0
    assert not instance.telemetry_enabled


def test_no_secret_stands_in_the_files() -> None:
    """Both files take addresses from the environment."""
    for name in ("dagster.yaml", "workspace.yaml"):
        text = project_file(name).read_text()
        assert "://" not in text
        assert "password" not in text.lower()


def test_a_second_start_brings_the_files_up_to_date(tmp_path: Path) -> None:
    """A newer version's dagster.yaml replaces the copy of an older one."""
    prepare_dagster_home(tmp_path)
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: true\n")
    prepare_dagster_home(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == project_file("dagster.yaml").read_text()
    shutil.rmtree(tmp_path)

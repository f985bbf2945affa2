"""What a crash of the whole stack left in progress is failed at the next start, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from minitik_dagster.local.dagster_home import prepare_dagster_home
from minitik_dagster.local.dead_runs import fail_runs, find_dead_runs

DEAD = (DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)
LEFT = (
    *(DagsterRunStatus.NOT_STARTED, DagsterRunStatus.SUCCESS),
    *(DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED),
)


@pytest.fixture
def instance(
    tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DagsterInstance]:
    """The stack's instance, found by DAGSTER_HOME as its processes find it."""
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", empty_database_url)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    prepare_dagster_home(tmp_path)
    with DagsterInstance.get() as found:
        yield found


def test_a_database_that_dagster_has_not_used_has_no_dead_runs(empty_database_url: str) -> None:
    """The first start of a stack."""
    assert find_dead_runs(empty_database_url) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_runs_in_progress_are_failed_with_the_reason_and_others_are_left(
    instance: DagsterInstance, empty_database_url: str
) -> None:
    """What has not begun begins by itself, what has ended keeps its end; a second look finds nothing."""
    runs = {
        status: create_run_for_test(instance, job_name="job", status=status).run_id
        for status in (*DEAD, *LEFT)
    }
    dead = find_dead_runs(empty_database_url)
    assert dead == [runs[status] for status in DEAD]

    fail_runs(dead)

    after = {status: instance.get_run_by_id(run_id) for status, run_id in runs.items()}
    assert {run.status for status, run in after.items() if run and status in DEAD} == {
        DagsterRunStatus.FAILURE
    }
    assert all(
        run is not None and run.status is status for status, run in after.items() if status in LEFT
    )
    told = [str(entry.dagster_event) for entry in instance.all_logs(dead[0])]
    assert any("next start of minitik up" in words for words in told), told
    assert find_dead_runs(empty_database_url) == []


def test_a_run_that_ended_meanwhile_keeps_its_end(instance: DagsterInstance) -> None:
    """Asked again before it is written: the last word is the run's own."""
    run = create_run_for_test(instance, job_name="job", status=DagsterRunStatus.SUCCESS)
    fail_runs([run.run_id, "unknown"])
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is DagsterRunStatus.SUCCESS

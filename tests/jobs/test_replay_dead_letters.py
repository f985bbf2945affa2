"""The job `replay_dead_letters`, executed by Dagster against a real database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dagster import DagsterInstance, ExecuteInProcessResult
from sqlalchemy import Engine, text

from minitik_dagster.db.engine import make_engine
from minitik_dagster.definitions import defs
from minitik_dagster.resources import database
from tests.api.scene import Scene
from tests.api.test_dead_letters import failed_post

DAYS_3 = 3 * 86_400


@pytest.fixture
def engine(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The database that the run sees; the resource's pool of this process is closed afterwards."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    engine = make_engine(database_url)
    yield engine
    engine.dispose()
    database.dispose_engines()


def execute(config: dict[str, Any], *, good: bool = True) -> ExecuteInProcessResult:
    job = defs.resolve_job_def("replay_dead_letters")
    with DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            run_config={"ops": {"replay_selected": {"config": config}}},
            instance=instance,
            raise_on_error=good,
        )
    assert result.success is good
    return result


def metadata(result: ExecuteInProcessResult) -> dict[str, Any]:
    [event] = [item for item in result.all_events if item.is_successful_output]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def stages(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT stage FROM publications")).scalars())


def test_the_job_plans_by_default_and_replays_when_told(engine: Engine) -> None:
    """The plan is the output's Markdown; who did it is the run, in the audit log."""
    scene = Scene(engine)
    failed_post(scene, scene.person())
    now = datetime.now(UTC)
    config = {
        "code": "too_late",
        "platform": "YouTube",
        "failed_from": (now - timedelta(days=3)).isoformat(),
        "failed_to": now.isoformat(),
        "max_lateness_seconds": DAYS_3,
    }
    told = metadata(execute(config))
    assert (told["publish"], told["dry_run"]) == (1, True)
    assert told["plan"].startswith("Plan (dry run: nothing was changed): 1 publish.")
    assert stages(engine) == ["failed"]
    result = execute(config | {"dry_run": False})
    assert metadata(result)["plan"].startswith("Done: 1 publish.")
    assert stages(engine) == ["scheduled"]
    [entry] = scene.rows("SELECT actor FROM audit_log")
    assert entry["actor"] == f"dagster run {result.run_id}"
    assert metadata(execute(config))["plan"] == "No dead letter fits."


def test_a_run_that_selects_nothing_fails_and_changes_nothing(engine: Engine) -> None:
    scene = Scene(engine)
    failed_post(scene, scene.person())
    before = scene.fingerprint()
    result = execute({"dry_run": False}, good=False)
    failures = [
        str(event.step_failure_data) for event in result.all_events if event.is_step_failure
    ]
    assert "nothing is selected" in failures[0]
    assert scene.fingerprint() == before

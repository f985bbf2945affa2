"""What Dagster sees: a snapshot of every definition, and that it loads with everything down."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dagster import (
    DagsterInstance,
    RunRequest,
    SensorResult,
    SkipReason,
    build_schedule_context,
    build_sensor_context,
)
from sqlalchemy import text

from minitik_dagster.assets.reconciled_publications import DAYS
from minitik_dagster.db.engine import make_engine
from minitik_dagster.definitions import defs
from minitik_dagster.errors import ConfigurationError
from minitik_dagster.publishing.due import PER_SHARD, Waiting
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.settings import SettingsResource
from minitik_dagster.sensors.due_posts import MOST_SHARDS, decide, due_posts
from minitik_dagster.settings import Settings
from tests.api.scene import Scene

# A rename shows here, in review: operators' bookmarks, tags and alerts name these.
EXPECTED: dict[str, Any] = {
    "assets": [
        "account_health",
        "account_performance",
        "account_tokens",
        "content_performance",
        "contents",
        "daily_metrics",
        "exports",
        "forecast",
        "lateness",
        "metric_snapshots",
        "publications",
        "reconciled_publications",
        "youtube_daily_reports",
    ],
    "checks": [
        "accounts_probed_daily",
        "everything_due_will_go_out",
        "no_account_out_of_order",
        "no_connection_ends_soon",
        "no_double_post",
        "no_refresh_cut_off",
        "nothing_overdue",
        "nothing_stuck",
        "nothing_unknown",
        "posts_are_on_time",
        "readings_complete",
        "readings_fresh",
        "rollups_reconciled",
        "tokens_reach_next_post",
        "views_monotone",
    ],
    "jobs": [
        "check_publications",
        "finish_exports",
        "forecast_publications",
        "maintain",
        "measure_lateness",
        "probe_accounts",
        "publish_due_posts",
        "read_metrics",
        "read_youtube_reports",
        "reconcile_publications",
        "refresh_tokens",
        "replay_dead_letters",
        "roll_up_metrics",
        "tidy_uploads",
        "write_lake",
    ],
    "schedules": {
        "check_publications_every_15_minutes": "*/15 * * * *",
        "probe_accounts_every_hour": "40 * * * *",
        "forecast_daily": "10 5 * * *",
        "maintain_daily": "40 3 * * *",
        "measure_lateness_daily": "25 0 * * *",
        "read_metrics_every_hour": "0,30 * * * *",
        "read_youtube_reports_every_day": "0 12 * * *",
        "reconcile_yesterday_and_today": "20 * * * *",
        "refresh_tokens_every_5_minutes": "*/5 * * * *",
        "roll_up_metrics_every_hour": "10 * * * *",
        "write_lake_every_day": "30 1 * * *",
        "tidy_uploads_every_15_minutes": "7,22,37,52 * * * *",
    },
    "sensors": {
        "alerts": {"jobs": [], "status": "RUNNING", "seconds": 30},
        "due_posts": {"jobs": ["publish_due_posts"], "status": "RUNNING", "seconds": 1},
        "resident_windows": {"jobs": [], "status": "RUNNING", "seconds": 30},
        "undone_exports": {"jobs": ["finish_exports"], "status": "RUNNING", "seconds": 60},
    },
    "resources": ["database", "lake", "mongo", "readings", "rollups", "settings"],
}

_SNAPSHOT = """
import json, socket

def refuse(*arguments, **named):
    raise AssertionError("a definition reached for the network while it loaded")

socket.socket.connect = refuse
socket.create_connection = refuse
from minitik_dagster.definitions import defs
repository = defs.get_repository_def()
print(json.dumps({
    "assets": sorted(key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()),
    "jobs": sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
    "checks": sorted(key.name for key in repository.asset_graph.asset_check_keys),
    "schedules": {item.name: item.cron_schedule for item in repository.schedule_defs},
    "sensors": {
        item.name: {
            "jobs": sorted(target.job_name for target in item.targets),
            "status": item.default_status.value,
            "seconds": item.minimum_interval_seconds,
        }
        for item in repository.sensor_defs
    },
    "resources": sorted(defs.resources),
}))
"""


def _load(environ: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _SNAPSHOT],
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    snapshot: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return snapshot


def test_definitions_load_with_no_environment_and_no_server() -> None:
    """A fresh process with nothing set sees every definition and opens no connection."""
    assert _load({"PATH": os.defpath}) == EXPECTED


def test_definitions_load_with_a_poisoned_environment() -> None:
    """Nothing is read at import: a broken environment is the run's problem, not the code server's."""
    poison = {name.upper(): "not a value of any kind" for name in Settings.model_fields}
    assert _load({"PATH": os.defpath, **poison, "DAGSTER_HOME": ""}) == EXPECTED


def test_every_definition_tells_what_it_is_for() -> None:
    """What an operator meets in the web UI has a description."""
    repository = defs.get_repository_def()
    for job in repository.get_all_jobs():
        assert job.name.startswith("__") or job.description, job.name
    for sensor in repository.sensor_defs:
        assert sensor.description, sensor.name
    for key in repository.asset_graph.get_all_asset_keys():
        assert repository.asset_graph.get(key).description, key


def test_publications_cannot_be_materialized_by_hand() -> None:
    """Its events come from dispatchers; "Materialize" must not start one."""
    graph = defs.get_repository_def().asset_graph
    assert {key.to_user_string() for key in graph.materializable_asset_keys} == {
        "account_health",
        "account_performance",
        "account_tokens",
        "content_performance",
        "daily_metrics",
        "exports",
        "forecast",
        "lateness",
        "metric_snapshots",
        "reconciled_publications",
        "youtube_daily_reports",
    }


def test_yesterday_and_today_are_reconciled_each_hour() -> None:
    """Today has a partition too, and a run key of its own each hour."""
    repository = defs.get_repository_def()
    schedule = repository.get_schedule_def("reconcile_yesterday_and_today")
    with DagsterInstance.ephemeral() as instance:
        context = build_schedule_context(
            instance=instance,
            repository_def=repository,
            scheduled_execution_time=datetime(2026, 3, 1, 0, 20, tzinfo=UTC),
        )
        requests = schedule.evaluate_tick(context).run_requests or []
    assert [request.partition_key for request in requests] == ["2026-02-28", "2026-03-01"]
    assert len({request.run_key for request in requests}) == 2


def test_today_can_be_reconciled() -> None:
    """`end_offset`: without it today's partition would come tomorrow."""
    assert f"{datetime.now(UTC):%Y-%m-%d}" == DAYS.get_last_partition_key()


def test_a_publish_run_is_never_retried_by_dagster() -> None:
    """Our own queue owns retry; a run that died is replaced by the sensor."""
    job = defs.get_job_def("publish_due_posts")
    assert job.run_tags["dagster/max_retries"] == "0"
    assert job.executor_def.name == "in_process"


def _waiting(count: int) -> Waiting:
    return Waiting(count=count, first_wake=datetime(2026, 1, 1, tzinfo=UTC), first_due=None)


def test_the_sensor_says_why_it_skips_when_nothing_is_due() -> None:
    found = decide(_waiting(0), asked_recently=False, tick="1")
    assert isinstance(found, SkipReason)
    assert "nothing is due" in (found.skip_message or "")


def test_the_sensor_asks_once_while_a_dispatcher_starts() -> None:
    """A run takes some ten seconds to its first line; a second one would find nothing to claim."""
    found = decide(_waiting(3), asked_recently=True, tick="1")
    assert isinstance(found, SkipReason)
    assert "still starting" in (found.skip_message or "")


@pytest.mark.parametrize(
    ("count", "shards"),
    [(1, 1), (PER_SHARD, 1), (PER_SHARD + 1, 2), (PER_SHARD * 100, MOST_SHARDS)],
)
def test_the_sensor_asks_for_as_many_dispatchers_as_the_work_needs(count: int, shards: int) -> None:
    found = decide(_waiting(count), asked_recently=False, tick="77")
    assert isinstance(found, SensorResult)
    assert found.cursor == "77"
    assert [request.run_key for request in _requests(found)] == [f"77-{n}" for n in range(shards)]


def test_the_sensor_asks_for_one_dispatcher_for_discards_alone() -> None:
    """What was prepared and is not wanted waits for no post to come along."""
    found = decide(
        Waiting(count=0, first_wake=None, first_due=None, discards=9_000),
        asked_recently=False,
        tick="5",
    )
    assert isinstance(found, SensorResult)
    [request] = _requests(found)
    assert request.tags["minitik/discards"] == "9000"


_DISPATCHER = """
INSERT INTO dispatchers (id, kind, instance, host, pid, "startedAt", "heartbeatAt", "endedAt")
VALUES ('d', :kind, 'default', 'here', 1, :started, CAST(:started AS timestamp) - interval '1 hour',
    :ended)
ON CONFLICT (id) DO UPDATE SET kind = EXCLUDED.kind, "startedAt" = EXCLUDED."startedAt",
    "endedAt" = EXCLUDED."endedAt"
"""
_DISCARD = """
INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
VALUES ('n', 'discard_handle', '{}', '2026-01-01', 0, '2026-01-01')
"""


def test_a_dispatcher_that_came_and_went_does_not_keep_the_sensor_from_asking_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published now just after a dispatcher's end: the next tick starts one, not the one in 30 s.

    The dispatchers here have been silent for an hour: only what the sensor remembers is asked.
    """
    monkeypatch.setenv("DATABASE_URL", database_url)
    database = DatabaseResource()
    asked = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=10)
    with database.connect() as connection:
        connection.execute(text(_DISCARD))

    def asks_again(kind: str, started_after: int, *, ended: bool) -> bool:
        started = (asked + timedelta(seconds=started_after)).replace(tzinfo=None)
        values = {"kind": kind, "started": started, "ended": started if ended else None}
        with database.connect() as connection:
            connection.execute(text(_DISPATCHER), values)
        with DagsterInstance.ephemeral() as instance:
            context = build_sensor_context(instance=instance, cursor=f"{asked.timestamp():.0f}")
            return isinstance(due_posts(context, database=database), SensorResult)

    assert asks_again("dagster", 4, ended=True)
    assert not asks_again("dagster", 4, ended=False), "it lives, or was killed: its lease tells"
    assert not asks_again("dagster", -60, ended=True), "an earlier one"
    assert not asks_again("resident", 4, ended=True), "not the run that was asked for"


def _requests(result: SensorResult) -> list[RunRequest]:
    return list(result.run_requests or [])


def test_what_the_sensor_asks_for_is_a_valid_run_of_the_job() -> None:
    """The run config that the sensor builds is one that the job takes."""
    found = decide(_waiting(1), asked_recently=False, tick="1")
    assert isinstance(found, SensorResult)
    job = defs.get_job_def("publish_due_posts")
    request = _requests(found)[0]
    from dagster._core.execution.api import create_execution_plan

    assert create_execution_plan(job, run_config=request.run_config).step_keys_to_execute


def test_the_sensor_finds_nothing_in_an_empty_database(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real evaluation against a real instance and a real, empty database."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    with DagsterInstance.ephemeral() as instance:
        context = build_sensor_context(instance=instance, cursor=None)
        result = due_posts(context, database=DatabaseResource())
    assert isinstance(result, SkipReason)


def test_the_sensor_skips_with_the_reason_while_postgresql_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An outage is a skipped tick, not a failed one: the next tick asks again."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    with DagsterInstance.ephemeral() as instance:
        context = build_sensor_context(instance=instance, cursor=None)
        result = due_posts(context, database=DatabaseResource())
    assert isinstance(result, SkipReason)
    assert "PostgreSQL does not answer" in (result.skip_message or "")


def test_a_deployment_that_must_not_publish_starts_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """MINITIK_DISPATCH=off keeps a preview on production's database from dispatching."""
    monkeypatch.setenv("MINITIK_DISPATCH", "off")
    with DagsterInstance.ephemeral() as instance:
        context = build_sensor_context(instance=instance, cursor=None)
        result = due_posts(context, database=DatabaseResource())
    assert isinstance(result, SkipReason)
    assert "MINITIK_DISPATCH" in (result.skip_message or "")


_RESOURCES = {"settings": SettingsResource(), "database": DatabaseResource()}


def _tick(schedule: str) -> Any:
    repository = defs.get_repository_def()
    with (
        DagsterInstance.ephemeral() as instance,
        build_schedule_context(
            instance=instance,
            repository_def=repository,
            scheduled_execution_time=datetime(2026, 3, 1, 0, 5, tzinfo=UTC),
            resources=_RESOURCES,
        ) as context,
    ):
        return repository.get_schedule_def(schedule).evaluate_tick(context)


ASKS_PLATFORMS = ("refresh_tokens_every_5_minutes", "probe_accounts_every_hour")


@pytest.mark.parametrize("schedule", ASKS_PLATFORMS)
def test_tokens_are_refreshed_and_accounts_probed_by_one_run_each(schedule: str) -> None:
    """It does what is due and asks the checks."""
    assert len(_tick(schedule).run_requests) == 1


# It reads, and what it finds stands in its own Dagster.
READS_ONLY = "check_publications_every_15_minutes"


@pytest.mark.parametrize(
    ("name", "value"), [("MINITIK_DISPATCH", "off"), ("MINITIK_INSTANCE", "preview")]
)
def test_dagster_beside_another_deployments_database_does_nothing_of_its_own_accord(
    name: str, value: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every schedule and sensor skips, with the reason, and not a row is changed by it."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    engine = make_engine(database_url)
    scene = Scene(engine)
    scene.run("INSERT INTO settings VALUES ('instance', '\"default\"', now())")
    before = scene.fingerprint()
    monkeypatch.setenv(name, value)
    repository = defs.get_repository_def()
    skipped = {
        schedule.name: _tick(schedule.name)
        for schedule in repository.schedule_defs
        if schedule.name != READS_ONLY
    }
    with DagsterInstance.ephemeral() as instance:
        for sensor in repository.sensor_defs:
            with build_sensor_context(
                instance=instance, repository_def=repository, resources=_RESOURCES
            ) as context:
                skipped[sensor.name] = sensor.evaluate_tick(context)
    assert len(skipped) == len(EXPECTED["schedules"]) + len(EXPECTED["sensors"]) - 1
    for found in skipped.values():
        assert not found.run_requests
        assert name in (found.skip_message or "")
    assert scene.fingerprint() == before
    engine.dispose()


@pytest.mark.parametrize("job", ["maintain", "tidy_uploads"])
def test_what_clears_away_refuses_another_deployments_database_by_hand_too(
    job: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is started in a preview's web UI deletes nothing of production's."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MINITIK_DISPATCH", "off")
    with pytest.raises(ConfigurationError, match="another deployment maintains"):
        defs.resolve_job_def(job).execute_in_process()

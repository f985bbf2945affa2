"""Failed runs, and assets that are not made any more, are alerts of our own, without Dagster too."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    Definitions,
    asset,
    build_sensor_context,
    define_asset_job,
    job,
    op,
)
from pydantic import SecretStr
from sqlalchemy import Engine

from minitik_dagster.api.alarm import AlarmWatch
from minitik_dagster.api.state import ApiState
from minitik_dagster.definitions import defs
from minitik_dagster.operations import alerts, freshness
from minitik_dagster.resources.dagster_health import mirror
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.sensors.alerts import alerts as alerts_sensor
from minitik_dagster.settings import Settings
from tests.api.scene import Scene


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=SecretStr(database_url))


@asset
def forecast() -> None:
    """An asset of a name that is watched, and fails."""
    raise RuntimeError("it cannot be made")


@asset
def exports() -> None:
    """Another, which is made."""


@op
def breaks() -> None:
    """Fail."""
    raise RuntimeError("broken")


@job
def plain_job() -> None:
    """A job without assets."""
    breaks()


def _run(instance: DagsterInstance) -> None:
    both = Definitions(assets=[forecast, exports], jobs=[define_asset_job("both")])
    both.resolve_job_def("both").execute_in_process(instance=instance, raise_on_error=False)


def _mirror(engine: Engine, instance: DagsterInstance) -> None:
    with engine.begin() as connection:
        mirror(instance, connection)


def _open_alerts(engine: Engine, settings: Settings, scene: Scene) -> dict[str, str]:
    with engine.begin() as connection:
        assert alerts.look(connection, settings) is not None
    rows = scene.rows('SELECT key, message FROM alerts WHERE "resolvedAt" IS NULL')
    return {row["key"]: row["message"] for row in rows}


def test_a_failed_run_and_what_it_did_not_make_are_alerts_until_they_are_made(
    engine: Engine, scene: Scene, settings: Settings, instance: DagsterInstance
) -> None:
    """Each by its name; what the same run did make is none; a success afterwards resolves it."""
    _run(instance)
    plain_job.execute_in_process(instance=instance, raise_on_error=False)
    _mirror(engine, instance)
    _mirror(engine, instance)
    found = _open_alerts(engine, settings, scene)
    assert set(found) == {"runs.failed", "assets.failed"}
    assert found["runs.failed"].startswith("2 Dagster runs failed within an hour (both, plain_job)")
    assert found["assets.failed"].startswith("1 assets were not made")
    assert "(forecast)" in found["assets.failed"]
    instance.report_runless_asset_event(AssetMaterialization(AssetKey("forecast")))
    scene.run('UPDATE dagster_failures SET "failedAt" = "failedAt" - interval \'2 hours\'')
    _mirror(engine, instance)
    assert _open_alerts(engine, settings, scene) == {}


def test_an_asset_that_is_not_made_any_more_is_missed_by_the_api_process_too(
    engine: Engine, scene: Scene, settings: Settings, instance: DagsterInstance
) -> None:
    """Nothing of Dagster is asked: its daemon may be dead. One that was never made is missed as well."""
    instance.report_runless_asset_event(AssetMaterialization(AssetKey("exports")))
    _mirror(engine, instance)
    assert _open_alerts(engine, settings, scene) == {}, "a fresh system is not stale"
    scene.run(
        "UPDATE dagster_assets SET since = since - interval '4 hours', "
        '"materializedAt" = "materializedAt" - interval \'51 hours\''
    )
    scene.run(
        "UPDATE dagster_assets SET since = since + interval '4 hours' "
        "WHERE asset <> ALL('{exports,metric_snapshots,lateness}')"
    )
    state = ApiState(settings)
    try:
        AlarmWatch(state).turn(lambda: False)
    finally:
        state.close()
    [row] = scene.rows("SELECT level, message FROM alerts WHERE key = 'assets.stale'")
    assert row["level"] == "warning"
    assert "exports (51 h old), metric_snapshots (4 h old)" in row["message"]
    assert "lateness" not in row["message"], "made each day: 4 hours are nothing"
    instance.report_runless_asset_event(AssetMaterialization(AssetKey("exports")))
    instance.report_runless_asset_event(AssetMaterialization(AssetKey("metric_snapshots")))
    _mirror(engine, instance)
    assert _open_alerts(engine, settings, scene) == {}


def test_the_sensor_keeps_the_tables_and_a_preview_does_not(
    engine: Engine, scene: Scene, database_url: str, instance: DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A preview on production's database has assets that nobody makes."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MINITIK_DISPATCH", "off")
    context = build_sensor_context(instance=instance)
    alerts_sensor(context, database=DatabaseResource())
    assert scene.rows("SELECT 1 FROM dagster_assets") == []
    monkeypatch.setenv("MINITIK_DISPATCH", "on")
    plain_job.execute_in_process(instance=instance, raise_on_error=False)
    alerts_sensor(context, database=DatabaseResource())
    assert len(scene.rows("SELECT 1 FROM dagster_assets")) == len(freshness.MAY_BE_OLD)
    assert len(scene.rows("SELECT 1 FROM dagster_failures")) == 1


def test_every_asset_that_a_schedule_makes_is_watched_and_agrees_with_its_policy() -> None:
    """`publications` alone is made when something is due; what others make cannot be asked for."""
    graph = defs.get_repository_def().asset_graph
    names = {key.to_user_string() for key in graph.materializable_asset_keys}
    assert set(freshness.MAY_BE_OLD) == names - {"publications"}
    for key in graph.get_all_asset_keys():
        policy: Any = graph.get(key).freshness_policy
        if policy is not None:
            window = timedelta(seconds=policy.fail_window.to_timedelta().total_seconds())
            assert freshness.MAY_BE_OLD[key.to_user_string()] == window


def test_the_last_failure_is_where_the_next_look_begins(engine: Engine) -> None:
    at = datetime(2026, 5, 5, 12, tzinfo=UTC)
    with engine.begin() as connection:
        assert freshness.last_failure(connection) is None
        freshness.failed(connection, [freshness.Failure("r1", "j", ("forecast",), at)])
        assert freshness.last_failure(connection) == at

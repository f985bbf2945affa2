"""Exports that nobody wrote: found by the sensor, finished by its run, given up after a day."""

from datetime import UTC, datetime, timedelta

import pytest
from dagster import DagsterInstance, RunRequest, SkipReason, build_sensor_context
from sqlalchemy.orm import Session

from minitik_dagster.analytics.export_orders import order, undone, write
from minitik_dagster.analytics.store import AnalyticsStore
from minitik_dagster.db.types import Platform
from minitik_dagster.definitions import defs
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.sensors.undone_exports import undone_exports
from minitik_dagster.settings import Settings
from tests.analytics.scene import AnalyticsScene


@pytest.fixture
def bucket(s3_endpoint: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The bucket that this process's environment names."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monkeypatch.setenv("AWS_S3_BUCKET", s3_bucket)
    return ObjectStore.from_settings(Settings())


def ordered(scene: AnalyticsScene, minutes_ago: float, status: str = "pending") -> str:
    """An order of some time ago; a running one was begun at once."""
    with Session(scene.engine) as session, session.begin():
        export_id = order(session, scene.user_id, format_="csv", span="7d")
    at = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=minutes_ago)
    scene.run(
        'UPDATE analytics_exports SET status = :status, "createdAt" = :at, "startedAt" = :began '
        "WHERE id = :id",
        id=export_id, at=at, status=status, began=at if status == "running" else None,
    )  # fmt: skip
    return export_id


def states(scene: AnalyticsScene) -> dict[str, str]:
    """The state of every order."""
    return {
        row["id"]: row["status"] for row in scene.run("SELECT id, status FROM analytics_exports")
    }


def tick() -> RunRequest | SkipReason | None:
    """What the sensor asks for."""
    with DagsterInstance.ephemeral() as instance:
        context = build_sensor_context(
            instance=instance, resources={"database": DatabaseResource()}, definitions=defs
        )
        asked = undone_exports(context)
    assert isinstance(asked, RunRequest | SkipReason)
    return asked


def test_what_the_api_left_undone_is_finished_by_a_run(
    scene: AnalyticsScene, bucket: ObjectStore
) -> None:
    """Whoever ended with an order in hand leaves it to the platform; nobody has to ask for it."""
    scene.post(scene.account(Platform.TIKTOK))
    fresh, writing = ordered(scene, 0.1), ordered(scene, 3, "running")
    assert isinstance(tick(), SkipReason), "these are somebody's"
    left, killed = ordered(scene, 2), ordered(scene, 30, "running")
    forgotten = ordered(scene, 60 * 25)
    asked = tick()
    assert isinstance(asked, RunRequest)
    assert str(asked.run_key).startswith(forgotten)
    with DagsterInstance.ephemeral() as instance:
        assert defs.resolve_job_def("finish_exports").execute_in_process(instance=instance).success
    assert states(scene) == {
        fresh: "pending", writing: "running", left: "ready", killed: "ready", forgotten: "failed",
    }  # fmt: skip
    for row in scene.run("SELECT \"s3Key\", rows FROM analytics_exports WHERE status = 'ready'"):
        assert bucket.head(row["s3Key"]) is not None
        assert row["rows"] == 7
    assert isinstance(tick(), SkipReason)


def test_an_export_ordered_while_mongodb_is_down_is_finished_afterwards(
    scene: AnalyticsScene, bucket: ObjectStore
) -> None:
    """An outage is no failure of the order: it waits, and only a day without success ends it."""
    scene.post(scene.account(Platform.TIKTOK))
    export_id = ordered(scene, 2)
    down = AnalyticsStore("mongodb://127.0.0.1:1", "none", timeout_ms=50)
    assert write(scene.engine, down, bucket, export_id) == "pending"
    down.close()
    with scene.engine.connect() as connection:
        assert undone(connection) == [export_id]
    assert write(scene.engine, scene.store, bucket, export_id) == "ready"
    assert write(scene.engine, scene.store, bucket, export_id) is None, "it is written once"

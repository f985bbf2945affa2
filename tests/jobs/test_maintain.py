"""The job `maintain`, executed by Dagster against real servers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.analytics import export_orders
from minitik_dagster.analytics.export_orders import KEPT, read_order, remove_files
from minitik_dagster.analytics.exports import stamp
from minitik_dagster.db.engine import make_engine
from minitik_dagster.definitions import defs
from minitik_dagster.media.keys import export_key
from minitik_dagster.media.listing import list_objects
from minitik_dagster.media.object_store import PRESIGNED_LIFETIME, ObjectStore
from minitik_dagster.settings import Settings

_EVENT = (
    'INSERT INTO inbound_events (id, platform, event, digest, payload, "receivedAt") '
    "VALUES (:id, 'TIKTOK', 'e', :id, '{}', :at)"
)
_ORDER = (
    'INSERT INTO analytics_exports (id, "userId", format, range, status, "s3Key", "createdAt", '
    "\"finishedAt\") VALUES (:id, 'u', 'csv', '7d', :status, :key, :at, :at)"
)


@pytest.fixture
def engine(
    database_url: str, s3_endpoint: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """The database that the run sees."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monkeypatch.setenv("AWS_S3_BUCKET", s3_bucket)
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    """A real instance on SQLite: the ephemeral one has no storage for schedules."""
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def ordered(engine: Engine, name: str, age: timedelta, status: str = "ready") -> str:
    """An order that ended so long ago, its file in the bucket; the file's key."""
    at = datetime.now(UTC) - age
    key = export_key("u", "7d", stamp(at), "csv")
    ObjectStore.from_settings(Settings()).put(key, b"12345", "text/csv")
    values = {"id": name, "status": status, "key": key, "at": at.replace(tzinfo=None)}
    with engine.begin() as connection:
        connection.execute(text(_ORDER), values)
    return key


def test_what_has_ended_goes_in_one_run_which_says_so(
    engine: Engine, instance: DagsterInstance
) -> None:
    """Platforms' events and exports after a week: younger ones stay."""
    now = datetime.now(UTC).replace(tzinfo=None)
    with engine.begin() as connection:
        for days in (6, 8, 9):
            at = now - timedelta(days=days)
            connection.execute(text(_EVENT), {"id": f"{days} days", "at": at})
    ordered(engine, "old", KEPT + timedelta(minutes=1))
    ordered(engine, "young", KEPT - timedelta(minutes=5))
    ordered(engine, "failed long ago", 2 * KEPT, "failed")
    result = defs.resolve_job_def("maintain").execute_in_process(instance=instance)
    [event] = [item for item in result.all_events if item.is_successful_output]
    told = str(event.step_output_data.metadata["removed"].value)
    assert "| platforms' events | 2 |" in told
    assert "| exports (expired) | 1 |" in told
    with engine.connect() as connection:
        left = connection.execute(text("SELECT id FROM inbound_events")).scalars().all()
        orders = connection.execute(text('SELECT id, status, "s3Key" FROM analytics_exports'))
        found = {row.id: (row.status, row.s3Key is None) for row in orders}
    assert left == ["6 days"]
    assert found == {
        "old": ("expired", True),
        "young": ("ready", False),
        "failed long ago": ("failed", False),
    }


def test_an_exports_file_goes_when_no_link_to_it_lives_and_nothing_else_does(
    engine: Engine,
) -> None:
    """Also a file that no order names, left by a writer that was killed; never the lake, or old ones."""
    store = ObjectStore.from_settings(Settings())
    key = ordered(engine, "mine", timedelta(0))
    others = [
        "exports/lake/exports/day=2026-01-01/exports.parquet",
        "exports/u/analytics-30d-1767225600000.csv",
        "content/u/c/video.mp4",
    ]
    for other in others:
        store.put(other, b"12345", "text/csv")
    lost = export_key("u", "30d", stamp(datetime.now(UTC)), "json")
    store.put(lost, b"123", "application/json")
    now = datetime.now(UTC)
    life = KEPT + PRESIGNED_LIFETIME
    assert remove_files(store, now + life - timedelta(minutes=1)) == (0, 0)
    assert remove_files(store, now + life + timedelta(minutes=1)) == (2, 8)
    assert sorted(item.key for item in list_objects(store, "")) == sorted(others)
    assert store.head(key) is None


@pytest.mark.parametrize("maintained", [False, True], ids=["not yet said", "said"])
def test_an_expired_order_gives_no_link_and_says_what_to_do(
    engine: Engine, *, maintained: bool
) -> None:
    """Whether maintenance has come by or not; one that is younger has its link."""
    store = ObjectStore.from_settings(Settings())
    ordered(engine, "old", KEPT + timedelta(minutes=1))
    ordered(engine, "young", KEPT - timedelta(minutes=5))
    if maintained:
        with engine.begin() as connection:
            assert export_orders.expire(connection) == 1
    with Session(engine) as session:
        old = read_order(session, store, "u", "old")
        young = read_order(session, store, "u", "young")
    assert (old.status, old.url, old.expires_at) == ("expired", None, None)
    assert old.error == "files are kept for 7 days: order it again"
    assert (young.status, young.error) == ("ready", None)
    assert young.url is not None

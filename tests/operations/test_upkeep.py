"""What has ended is cleared away; what anybody may still need stays."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from dagster import DagsterInstance, job, op
from dagster._core.test_utils import create_run_for_test
from pydantic import SecretStr
from sqlalchemy import Engine

from minitik_dagster.db.types import Platform
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.operations import upkeep
from minitik_dagster.operations.upkeep import Cleared, clear_media, clear_rows
from minitik_dagster.resources.dagster_upkeep import KEPT_DAYS, clear_dagster
from tests.api.scene import Scene
from tests.operations.posts import post

NOW = datetime.now(UTC).replace(tzinfo=None)
_DISPATCHER = (
    'INSERT INTO dispatchers (id, kind, instance, host, pid, "startedAt", "heartbeatAt") '
    "VALUES (:id, 'resident', 'default', 'h', 1, :at, :at)"
)
_KEY = (
    'INSERT INTO idempotency_keys ("userId", route, key, "bodyHash", "createdAt", "expiresAt") '
    "VALUES ('u', 'r', :id, 'h', :at, :at)"
)
_STATE = (
    'INSERT INTO oauth_states (id, "stateHash", "userId", provider, "redirectUri", "createdAt", '
    "\"expiresAt\") VALUES (:id, :id, 'u', 'tiktok', 'x', :at, :at)"
)
_SESSION = (
    'INSERT INTO sessions (id, "sessionToken", "userId", expires) '
    "VALUES (:id, 'sha256:' || :id, :user, :at)"
)
_MESSAGE = (
    'INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt", "doneAt") '
    "VALUES (:id, 'k', '{}', :at, 1, :at, :at)"
)


def _ids(scene: Scene, table: str, column: str = "id") -> set[str]:
    return {row[column] for row in scene.rows(f"SELECT {column} FROM {table}")}  # noqa: S608


def test_expired_rows_go_and_the_rest_stays(engine: Engine, scene: Scene) -> None:
    """By each kind's own age; a second time there is nothing left."""
    person = scene.person()
    for name, age in (("old", timedelta(days=61)), ("new", timedelta(hours=-1))):
        for sql in (_DISPATCHER, _KEY, _STATE, _MESSAGE):
            scene.run(sql, id=name, at=NOW - age)
        scene.run(_SESSION, id=name, at=NOW - age, user=person.id)
    # Young, and ended: an answered message is kept for two months, a dead dispatcher for one.
    scene.run(_DISPATCHER, id="dead", at=NOW - timedelta(days=2))
    scene.run(_MESSAGE, id="done", at=NOW - timedelta(days=31))
    cleared = Cleared()
    clear_rows(engine, cleared)
    assert _ids(scene, "dispatchers") == {"new", "dead"}
    assert _ids(scene, "idempotency_keys", "key") == {"new"}
    assert _ids(scene, "oauth_states") == {"new"}
    assert _ids(scene, "outbox") == {"new", "done"}
    assert _ids(scene, "sessions") == {"new"}
    assert cleared.rows["dispatchers"] == cleared.rows["sessions"] == 1
    assert "| dispatchers | 1 |" in cleared.table()
    again = Cleared()
    clear_rows(engine, again)
    assert again.rows.total() == 0


@pytest.fixture
def store(s3_endpoint: str, s3_bucket: str) -> ObjectStore:
    return ObjectStore(
        bucket=s3_bucket,
        endpoint_url=s3_endpoint,
        access_key_id=SecretStr("test"),
        secret_access_key=SecretStr("test"),
    )


def test_media_go_a_week_after_their_content_was_deleted(
    engine: Engine,
    scene: Scene,
    store: ObjectStore,
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not before, not while a post waits for them, and never what the database does not know."""
    monkeypatch.setattr(upkeep, "_KEYS_AT_ONCE", 2)
    person = scene.person()
    names = ("gone", "waiting", "kept", "fresh")
    contents = {name: scene.content(person) for name in names}
    post(
        engine, scene, person, scene.account(person, Platform.YOUTUBE), content=contents["waiting"]
    )
    keys = {name: f"content/{person.id}/{one}/v.mp4" for name, one in contents.items()}
    keys["thumbnail"] = f"thumbnails/{person.id}/{contents['gone']}/thumbnail.jpg"
    keys["unknown"] = "content/somebody/something/v.mp4"
    for key in keys.values():
        store.put(key, b"12345", "video/mp4")
    for name, days in (("gone", 8), ("waiting", 8), ("fresh", 6)):
        scene.run(
            'UPDATE contents SET "deletedAt" = :at WHERE id = :id',
            at=NOW - timedelta(days=days),
            id=contents[name],
        )
    young = Cleared()
    clear_media(engine, store, young)
    assert (young.media, young.unknown_media) == (0, 0), "objects of this week are left alone"

    later = datetime.now(UTC) + upkeep.MEDIA_KEPT + timedelta(minutes=1)

    cleared = Cleared()
    clear_media(engine, store, cleared, now=later)

    listed = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ).list_objects_v2(Bucket=store.bucket)
    left = {item["Key"] for item in listed["Contents"]}
    assert left == {keys[name] for name in ("waiting", "kept", "fresh", "unknown")}
    assert (cleared.media, cleared.media_bytes, cleared.unknown_media) == (2, 10, 1)
    assert "no content that this database knows" in cleared.table()


def test_a_bucket_that_cannot_be_listed_is_a_note(engine: Engine) -> None:
    """Rows are cleared all the same: the right to list is not one that publishing needs."""
    cleared = Cleared()
    clear_media(engine, ObjectStore(bucket="b", endpoint_url="http://127.0.0.1:1"), cleared)
    assert "were not looked at" in cleared.table()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    """A real instance on SQLite: the ephemeral one has no storage for schedules."""
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def test_old_runs_go_with_their_events_and_each_job_has_its_time(instance: DagsterInstance) -> None:
    """A job of the past is known by its runs alone; what has not finished stays."""
    from dagster import DagsterRunStatus

    @op
    def nothing() -> None:
        pass

    @job
    def refresh_tokens() -> None:
        nothing()

    done = refresh_tokens.execute_in_process(instance=instance).run_id
    assert instance.all_logs(done)
    for name, status in (
        ("reconcile_publications", DagsterRunStatus.SUCCESS),
        ("refresh_tokens", DagsterRunStatus.STARTED),
        ("a_job_of_the_past", DagsterRunStatus.FAILURE),
    ):
        create_run_for_test(instance, job_name=name, status=status)
    now = datetime.now(UTC)
    assert clear_dagster(instance, now=now).total() == 0
    cleared = clear_dagster(instance, now=now + timedelta(days=31))
    assert cleared["Dagster runs with their events"] == 2
    assert not instance.all_logs(done)
    left = {(run.job_name, run.status.value) for run in instance.get_runs()}
    assert left == {("reconcile_publications", "SUCCESS"), ("refresh_tokens", "STARTED")}
    clear_dagster(instance, now=now + timedelta(days=KEPT_DAYS["reconcile_publications"] + 1))
    assert {run.job_name for run in instance.get_runs()} == {"refresh_tokens"}

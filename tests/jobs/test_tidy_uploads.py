"""The job `tidy_uploads`, executed by Dagster against a real database and a real bucket."""

from collections.abc import Iterator
from typing import Any

import pytest
from dagster import DagsterInstance, RunRequest, SkipReason, build_schedule_context
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.db.engine import make_engine
from minitik_dagster.definitions import defs
from minitik_dagster.jobs.tidy_uploads import tidy_uploads_every_15_minutes
from minitik_dagster.media.new_upload import NewUpload
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.media.uploads import Uploads
from minitik_dagster.resources import database
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.settings import SettingsResource
from tests.api.scene import Scene


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, s3_endpoint: str, s3_bucket: str) -> ObjectStore:
    """The bucket that the run sees."""
    monkeypatch.setenv("AWS_S3_BUCKET", s3_bucket)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    return ObjectStore(bucket=s3_bucket, endpoint_url=s3_endpoint)


@pytest.fixture
def engine(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The database that the run sees; the resource's pool of this process is closed afterwards."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    engine = make_engine(database_url)
    yield engine
    engine.dispose()
    database.dispose_engines()


def _asked() -> Any:
    with (
        DagsterInstance.ephemeral() as instance,
        build_schedule_context(
            instance=instance,
            resources={"settings": SettingsResource(), "database": DatabaseResource()},
        ) as context,
    ):
        return tidy_uploads_every_15_minutes(context)


def _run() -> dict[str, Any]:
    with DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("tidy_uploads").execute_in_process(instance=instance)
    [event] = [item for item in result.all_events if item.is_successful_output]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def test_stale_uploads_end_and_their_objects_go(engine: Engine, store: ObjectStore) -> None:
    """A run is asked for when there is something to do; a young upload stays."""
    scene = Scene(engine)
    person = scene.person()
    assert isinstance(_asked(), SkipReason)
    with Session(engine, expire_on_commit=False) as session, session.begin():
        old, young = (
            Uploads(store).begin(session, person.id, NewUpload("v", "v.mp4", "video/mp4", 5))
            for _ in range(2)
        )
    store.put(old.key, b"video", "video/mp4")
    with engine.begin() as connection:
        connection.execute(
            text('UPDATE upload_sessions SET "expiresAt" = "createdAt" WHERE id = :id'),
            {"id": old.upload_id},
        )
    asked = _asked()
    assert isinstance(asked, RunRequest)
    assert asked.tags["minitik/uploads"] == "1"
    done = _run()
    assert (done["expired_uploads"], done["objects_deleted"]) == (1, 4)
    assert store.head(old.key) is None
    assert scene.rows('SELECT status, "contentId" AS content FROM upload_sessions ORDER BY 1') == [
        {"status": "expired", "content": old.content_id},
        {"status": "open", "content": young.content_id},
    ]
    assert isinstance(_asked(), SkipReason)
    assert _run()["objects_deleted"] == 0

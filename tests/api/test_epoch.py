"""The API's part in mirroring the epoch: a restore is noticed where no dispatcher lives."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from minitik_dagster.api.epoch import EpochWatch
from minitik_dagster.api.state import ApiState
from minitik_dagster.errors import DependencyDownError, SchemaVersionError
from minitik_dagster.publishing import epochs, quarantine
from minitik_dagster.settings import Settings


@pytest.fixture
def state(
    database_url: str, s3_endpoint: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ApiState]:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monkeypatch.setenv("AWS_S3_BUCKET", s3_bucket)
    made = ApiState(Settings())
    yield made
    made.close()


def epoch_of(state: ApiState) -> epochs.Epoch | None:
    with state.engine.connect() as connection:
        return epochs.read_epoch(connection)


def test_it_mirrors_the_epoch_and_notices_a_database_behind_it(state: ApiState) -> None:
    """The bucket is told first; a mirror ahead of the database opens a quarantine, once."""
    watch = EpochWatch(state)
    watch.look()
    own = epoch_of(state)
    assert own is not None
    assert epochs.read_mirror(state.object_store, own.database) == own
    ahead = epochs.Epoch(own.database, own.number + 7, own.at)
    epochs.write_mirror(state.object_store, ahead)
    watch.look()
    watch.look()
    with state.engine.connect() as connection:
        [found] = quarantine.list_quarantines(connection)
    assert (found.epoch, found.mirrored_epoch) == (own.number, ahead.number)
    raised = epoch_of(state)
    assert raised is not None
    assert raised.number == ahead.number + 1
    assert epochs.read_mirror(state.object_store, own.database) == raised


@pytest.mark.parametrize("change", [{"minitik_dispatch": "off"}, {"minitik_instance": "preview"}])
def test_a_preview_leaves_the_epoch_alone(state: ApiState, change: dict[str, str]) -> None:
    """It may have another bucket: production's mirror would fall behind."""
    with state.engine.begin() as connection:
        connection.execute(text("INSERT INTO settings VALUES ('instance', '\"default\"', now())"))
    preview = ApiState(state.settings.model_copy(update=change))
    EpochWatch(preview).look()
    preview.close()
    assert epoch_of(state) is None


def test_a_bucket_that_holds_something_else_there_judges_nobody(state: ApiState) -> None:
    """Unreadable is not ahead: the counter stands still and nothing is put to review."""
    watch = EpochWatch(state)
    watch.look()
    own = epoch_of(state)
    assert own is not None
    state.object_store.put(epochs.mirror_key(own.database), b"{", "application/json")
    with pytest.raises(DependencyDownError, match="is no epoch"):
        watch.look()
    assert epoch_of(state) == own


def test_a_database_of_another_version_is_not_touched(state: ApiState) -> None:
    with state.engine.begin() as connection:
        connection.execute(text("UPDATE minitik_alembic_version SET version_num = '0004'"))
    with pytest.raises(SchemaVersionError):
        EpochWatch(state).look()
    assert epoch_of(state) is None

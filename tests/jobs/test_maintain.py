"""The jobs of upkeep, executed by Dagster against a real database."""

from collections.abc import Iterator

import pytest
from dagster import DagsterInstance
from sqlalchemy import Engine, text

from minitik_dagster.db.engine import make_engine
from minitik_dagster.definitions import defs
from minitik_dagster.resources import database


@pytest.fixture
def engine(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The database that the run sees; the resource's pool of this process is closed afterwards."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    engine = make_engine(database_url)
    yield engine
    engine.dispose()
    database.dispose_engines()


def test_platforms_events_of_more_than_a_week_are_forgotten(engine: Engine) -> None:
    """Younger ones stay; the run says how many went."""
    with engine.begin() as connection:
        for days in (6, 8, 9):
            connection.execute(
                text(
                    "INSERT INTO inbound_events (id, platform, event, digest, payload, "
                    "\"receivedAt\") VALUES (:id, 'TIKTOK', 'e', :id, '{}', "
                    "(now() AT TIME ZONE 'UTC') - make_interval(days => :days))"
                ),
                {"id": f"{days} days", "days": days},
            )
    with DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def("forget_platform_events")
        result = job.execute_in_process(instance=instance)
    [event] = [item for item in result.all_events if item.is_successful_output]
    assert event.step_output_data.metadata["events"].value == 2
    with engine.connect() as connection:
        left = connection.execute(text("SELECT id FROM inbound_events")).scalars().all()
    assert left == ["6 days"]

"""What was asked is what is stored: every zone, around each of its changes, whatever zone the machines are in.

The columns are `timestamp without time zone` in UTC (the old system's): a driver or a server that put its
own zone between would move every post.
"""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from minitik_dagster.db.engine import libpq_url, make_engine
from minitik_dagster.db.models import ScheduledJob
from minitik_dagster.db.types import JobPriority, JobStatus
from minitik_dagster.ids import new_id
from minitik_dagster.scheduling.instants import ZonedInstant, resolve
from tests.api.scene import Scene
from tests.scheduling.test_instants import ZONES, changes

pytestmark = pytest.mark.slow
AROUND = (
    timedelta(hours=-1, seconds=-1),
    timedelta(seconds=-1),
    timedelta(0),
    timedelta(minutes=30),
)


def _asked() -> Iterator[ZonedInstant]:
    """The wall clock's own words around each change, 2024 to 2030; a doubled time by its offset's side."""
    for zone in ZONES:
        tz = ZoneInfo(zone)
        for change in changes(zone) or (datetime(2027, 5, 1, tzinfo=UTC),):
            for off in AROUND:
                local = (change + off).astimezone(tz)
                wall = local.replace(tzinfo=None, fold=0).isoformat()
                asked = resolve(wall, zone, disambiguation="later" if local.fold else "earlier")
                assert asked.at == change + off
                yield asked


@pytest.fixture(params=["Pacific/Apia", "America/St_Johns"])
def process_zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """The process's own zone, as TZ sets it."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def _job(content_id: str, account_id: str, asked: ZonedInstant, now: datetime) -> ScheduledJob:
    return ScheduledJob(
        id=new_id(),
        content_id=content_id,
        account_ids=[account_id],
        scheduled_at=asked.at,
        timezone=asked.zone,
        local_time=asked.local_text,
        priority=JobPriority.NORMAL,
        status=JobStatus.PENDING,
        attempts=0,
        max_attempts=3,
        created_at=now,
        updated_at=now,
    )


@pytest.mark.usefixtures("process_zone")
@pytest.mark.parametrize("database_zone", ["America/Los_Angeles", "Australia/Lord_Howe"])
def test_every_instant_around_every_change_of_every_zone_is_stored_as_asked(
    database_url: str, database_zone: str
) -> None:
    """Written and read by the models, and read by plain SQL in the database's own zone."""
    name = make_url(database_url).database
    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE \"{name}\" SET timezone = '{database_zone}'")
    engine = make_engine(database_url)
    try:
        scene = Scene(engine)
        person = scene.person()
        content_id, account_id = scene.content(person), scene.account(person)
        now = datetime.now(UTC)
        asked = {}
        with Session(engine) as session, session.begin():
            assert session.scalar(text("SHOW timezone")) == database_zone
            for one in _asked():
                job = _job(content_id, account_id, one, now)
                asked[job.id] = one
                session.add(job)
        assert len(asked) > 5_000
        with Session(engine) as session:
            for job in session.scalars(select(ScheduledJob)):
                one = asked[job.id]
                stored = (job.scheduled_at, job.timezone, job.local_time)
                assert stored == (one.at, one.zone, one.local_text)
            plain = session.execute(
                text('SELECT id, extract(epoch FROM "scheduledAt")::bigint FROM scheduled_jobs')
            )
            assert all(asked[job_id].at.timestamp() == epoch for job_id, epoch in plain)
    finally:
        engine.dispose()

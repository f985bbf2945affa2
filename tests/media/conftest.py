"""A bucket, a database and a person for each test of uploads."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from minitik_dagster.clock import MovableClock
from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.models import User
from minitik_dagster.db.types import SubscriptionTier
from minitik_dagster.ids import new_id
from minitik_dagster.local.ports import free_port
from minitik_dagster.media.object_store import ObjectStore
from tests.media.listing_s3 import listing_s3
from tests.media.scene import Scene


@pytest.fixture
def store(s3_endpoint: str, s3_bucket: str) -> ObjectStore:
    """A bucket of the test's own."""
    return ObjectStore(bucket=s3_bucket, endpoint_url=s3_endpoint)


@pytest.fixture
def dead_store() -> ObjectStore:
    """A bucket on a server that does not answer."""
    return ObjectStore(bucket="nowhere", endpoint_url=f"http://127.0.0.1:{free_port()}")


@pytest.fixture
def listing_store(tmp_path: Path) -> Iterator[ObjectStore]:
    """A bucket on a server that can list the parts of an upload, as Amazon's can."""
    with listing_s3(tmp_path / "listing", "listing") as endpoint:
        yield ObjectStore(bucket="listing", endpoint_url=endpoint)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A pool of connections to this test's database."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def scene(engine: Engine, store: ObjectStore) -> Scene:
    """Two people, a bucket and a clock that stands still."""
    sessions: sessionmaker[Session] = sessionmaker(engine, expire_on_commit=False)
    now = datetime(2026, 11, 24, 8, 30, tzinfo=UTC)
    people = [new_id(), new_id()]
    with sessions.begin() as session:
        for person in people:
            session.add(
                User(
                    id=person,
                    email=f"{person}@example.test",
                    subscription_tier=SubscriptionTier.FREE,
                    created_at=now,
                    updated_at=now,
                )
            )
    return Scene(sessions, store, MovableClock(now), people[0], people[1])

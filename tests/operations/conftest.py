"""A database and people in it, without servers that a test does not ask for."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from minitik_dagster.db.engine import make_engine
from tests.api.scene import Scene


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The database."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def scene(engine: Engine) -> Scene:
    """What makes people, accounts and contents."""
    return Scene(engine)

"""A database, people in it, and the API in front of it."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from minitik_dagster.db.engine import make_engine
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene
from tests.api.server import serving

ADMIN_EMAIL = "operator@example.test"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Eyes on the database, besides the API."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def scene(engine: Engine) -> Scene:
    """What makes people, accounts and contents."""
    return Scene(engine)


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    """The API's environment: PostgreSQL and Redis are there."""
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        admin_emails=frozenset({ADMIN_EMAIL}),
        encryption_key=SecretStr(secrets.token_hex(32)),
    )


@pytest.fixture
def api(settings: Settings) -> Iterator[httpx.Client]:
    """A client of the API under uvicorn."""
    with serving(settings) as client:
        yield client


@pytest.fixture
def person(scene: Scene) -> Person:
    """Somebody who publishes."""
    return scene.person()


@pytest.fixture
def admin(scene: Scene) -> Person:
    """An operator."""
    return scene.person("admin", email=ADMIN_EMAIL)


@pytest.fixture
def tomorrow() -> str:
    """An instant a day ahead, as a program writes it."""
    return (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

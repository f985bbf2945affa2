"""A database and people in it, without servers that a test does not ask for."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import Engine

from minitik_dagster.db.engine import make_engine
from minitik_dagster.local.servers.sandbox import SandboxServer
from tests.api.scene import Scene
from tests.operations.systems import healthy


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


@pytest.fixture
def environment(
    database_url: str,
    redis_url: str,
    mongodb_uri: str,
    mongodb_name: str,
    s3_endpoint: str,
    s3_bucket: str,
    sandbox: SandboxServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Mapping[str, str]:
    """A healthy system's environment, set."""
    found = healthy(
        database_url=database_url,
        redis_url=redis_url,
        mongodb_uri=mongodb_uri,
        mongodb_name=mongodb_name,
        s3_endpoint=s3_endpoint,
        s3_bucket=s3_bucket,
        sandbox=sandbox,
        home=tmp_path,
    )
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found

"""Databases as the old system leaves them: upgraded once per worker, copied for each test."""

import secrets
from collections.abc import Iterator

import pytest

from minitik_dagster.db.engine import make_engine
from minitik_dagster.local.servers.postgres import PostgresServer
from tests.scheduling.legacy import load


@pytest.fixture(scope="session")
def legacy_template(postgres_server: PostgresServer) -> str:
    """The name of an empty database of the old system, at the newest schema."""
    name = "legacy_template"
    postgres_server.create_database(name)
    url = postgres_server.database_url(name)
    engine = make_engine(url)
    load(engine, url)
    engine.dispose()
    return name


@pytest.fixture
def legacy_database_url(postgres_server: PostgresServer, legacy_template: str) -> Iterator[str]:
    """A database of the old system, upgraded and not yet adopted."""
    name = f"legacy_{secrets.token_hex(6)}"
    postgres_server.create_database(name, template=legacy_template)
    yield postgres_server.database_url(name)
    postgres_server.drop_database(name)

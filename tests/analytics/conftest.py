"""Servers and a scene for analytics; this process has the environment that a run sees."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from minitik_dagster.analytics.store import AnalyticsStore
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.resources import analytics, database
from tests.accounts.scene import KEY
from tests.analytics.scene import AnalyticsScene


@pytest.fixture
def store(mongodb_uri: str, mongodb_name: str) -> Iterator[AnalyticsStore]:
    """A store on a database of this test's own."""
    store = AnalyticsStore(mongodb_uri, mongodb_name)
    yield store
    store.close()


@pytest.fixture
def scene(
    database_url: str,
    redis_url: str,
    mongodb_uri: str,
    mongodb_name: str,
    sandbox: SandboxServer,
    store: AnalyticsStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[AnalyticsScene]:
    """One person's accounts; the resources' pools of this process are closed afterwards."""
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "MONGODB_URI": mongodb_uri,
        "MONGODB_DB": mongodb_name,
        "ENCRYPTION_KEY": KEY,
        "MINITIK_HOME": str(tmp_path / "home"),
        **sandbox.environment,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    scene = AnalyticsScene(environment, sandbox, store)
    yield scene
    scene.engine.dispose()
    database.dispose_engines()
    analytics._store(mongodb_uri, mongodb_name).close()
    analytics._store.cache_clear()

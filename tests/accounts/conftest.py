"""Accounts at the sandbox, as rows of a fresh database, and the environment to refresh them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from minitik_dagster.local.servers.sandbox import SandboxServer
from tests.accounts.scene import KEY, AccountScene


@pytest.fixture
def refresh_environment(
    database_url: str, redis_url: str, sandbox: SandboxServer, tmp_path: Path
) -> dict[str, str]:
    """What `minitik accounts refresh` and `tokens rotate-key` need."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "ENCRYPTION_KEY": KEY,
        "MINITIK_HOME": str(tmp_path / "home"),
        **sandbox.environment,
    }


@pytest.fixture
def scene(
    refresh_environment: dict[str, str], sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AccountScene]:
    """Accounts of one person; this process has the environment too."""
    for name, value in refresh_environment.items():
        monkeypatch.setenv(name, value)
    made = AccountScene(refresh_environment, sandbox)
    yield made
    made.engine.dispose()

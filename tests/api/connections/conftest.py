"""The API at an address of its own, with the sandbox as its platforms; there is no Redis."""

from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from minitik_dagster.local.ports import free_port
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.settings import Settings
from tests.api.connections.connecting import KEY, LEGACY
from tests.api.server import serving


@pytest.fixture
def port() -> int:
    """Where the API will stand: its own address is in what it registers at the platforms."""
    return free_port()


@pytest.fixture
def settings(
    database_url: str, sandbox: SandboxServer, port: int, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The platforms are the sandbox; there is no Redis."""
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    return Settings(
        database_url=SecretStr(database_url),
        encryption_key=SecretStr(KEY),
        # The key under which an adopted database's tokens are sealed.
        encryption_key_previous=SecretStr(LEGACY["key"]),
        nextauth_url=f"http://127.0.0.1:{port}",
    )


@pytest.fixture
def api(settings: Settings, port: int) -> Iterator[httpx.Client]:
    """The API under uvicorn."""
    with serving(settings, port) as client:
        yield client

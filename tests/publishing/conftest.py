"""A workbench per test: a fresh database, its own bucket, and the sandbox."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.settings import Settings
from tests.publishing.kill_harness import Ground


@pytest.fixture
def engine_environment(
    database_url: str,
    redis_url: str,
    s3_endpoint: str,
    s3_bucket: str,
    sandbox: SandboxServer,
    tmp_path: Path,
) -> dict[str, str]:
    """The environment of a dispatcher on this test's servers, with short times."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "AWS_ENDPOINT_URL_S3": s3_endpoint,
        "AWS_S3_BUCKET": s3_bucket,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "ENCRYPTION_KEY": "ab" * 32,
        "MINITIK_HOME": str(tmp_path / "home"),
        "MINITIK_LEASE_SECONDS": "2",
        "MINITIK_SETTLE_TIKTOK_SECONDS": "1",
        "MINITIK_SETTLE_INSTAGRAM_SECONDS": "1",
        "MINITIK_SETTLE_YOUTUBE_SECONDS": "0",
        "MINITIK_SEND_DEADLINE_SECONDS": "1",
        **sandbox.environment,
    }


@pytest.fixture
def workbench(
    engine_environment: dict[str, str], sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workbench]:
    """Accounts, videos and due posts of this test."""
    for name, value in engine_environment.items():
        monkeypatch.setenv(name, value)
    bench = Workbench(Settings(), sandbox)
    yield bench
    bench.close()


@pytest.fixture
def ground(workbench: Workbench, engine_environment: dict[str, str], tmp_path: Path) -> Ground:
    """What this test kills dispatchers on."""
    return Ground(workbench, engine_environment, tmp_path)

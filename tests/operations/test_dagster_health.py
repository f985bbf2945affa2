"""Dagster under examination, on a real instance."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._daemon.types import DaemonHeartbeat
from pydantic import SecretStr

from minitik_dagster.operations.findings import Finding
from minitik_dagster.resources.dagster_health import look, stuck_runs
from minitik_dagster.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A DAGSTER_HOME with SQLite storage."""
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    return tmp_path


@pytest.fixture
def instance(home: Path) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(home)) as instance:
        yield instance


def _looked(home: Path) -> dict[str, Finding]:
    return {item.check: item for item in look(Settings(dagster_home=str(home)))}


def test_a_daemon_is_missed_until_it_beats(home: Path, instance: DagsterInstance) -> None:
    """Each required daemon by its name, with what publishes meanwhile; a beat makes it green."""
    before = _looked(home)["dagster daemon"]
    assert before.level == "red"
    assert "SENSOR" in before.detail
    assert "minitik dispatcher" in before.fix
    for kind in instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), kind, None, None))
    assert _looked(home)["dagster daemon"].level == "green"
    assert stuck_runs(Settings(dagster_home=str(home))) == []


def test_a_home_without_its_file_is_said(tmp_path: Path) -> None:
    assert _looked(tmp_path)["dagster"].level == "red"
    assert list(look(Settings())) == []


@pytest.mark.timeout(30)
def test_a_storage_that_says_nothing_is_red_and_holds_nobody_up(home: Path) -> None:
    """Dagster itself would wait for ever; what hangs is not asked for either."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"postgresql://me:hunter2@127.0.0.1:{hole.getsockname()[1]}/dagster"
        settings = Settings(dagster_home=str(home), dagster_postgres_url=SecretStr(url))
        [found] = look(settings)
        assert (found.check, found.level) == ("dagster storage", "red")
        assert "DAGSTER_POSTGRES_URL" in found.fix
        assert "hunter2" not in found.detail

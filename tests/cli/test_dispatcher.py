"""`minitik dispatcher`: runs until it is told to end, and refuses plainly what it must not publish."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Engine, text

from minitik_dagster.db import migrate
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.settings import Settings
from tests.cli.running import Command


@pytest.fixture
def deployment(
    monkeypatch: pytest.MonkeyPatch,
    on_database: Engine,
    redis_url: str,
    s3_endpoint: str,
    s3_bucket: str,
    sandbox: SandboxServer,
    tmp_path: Path,
) -> Iterator[Engine]:
    """An environment in which a dispatcher may run."""
    environment = {
        "REDIS_URL": redis_url,
        "AWS_ENDPOINT_URL_S3": s3_endpoint,
        "AWS_S3_BUCKET": s3_bucket,
        "ENCRYPTION_KEY": "ab" * 32,
        "MINITIK_HOME": str(tmp_path / "home"),
        **sandbox.environment,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    yield on_database
    structlog.reset_defaults()


def registered(engine: Engine) -> int:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT count(*) FROM dispatchers"))
        return int(found.scalar_one())


def test_a_dispatcher_says_when_it_is_ready_and_ends_by_itself(
    minitik: Command, deployment: Engine
) -> None:
    """A supervisor waits for the line; `--seconds` bounds a trial."""
    said = minitik("dispatcher", "--seconds", "1")
    assert (said.code, said.out) == (0, "dispatcher ready\n")
    with deployment.connect() as connection:
        ended = connection.execute(text('SELECT "endedAt" IS NOT NULL FROM dispatchers'))
        assert ended.scalars().all() == [True]


def test_a_dispatcher_ends_cleanly_on_sigterm_and_logs_to_standard_error(
    deployment: Engine,
) -> None:
    """Exit 0; standard output holds nothing but the line."""
    with subprocess.Popen(
        [sys.executable, "-m", "minitik_dagster.cli.main", "dispatcher"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "dispatcher ready\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert '"event": "dispatcher.ended"' in err
    assert registered(deployment) == 1


def test_a_deployment_told_not_to_dispatch_does_not(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, deployment: Engine
) -> None:
    """A preview on production's database."""
    monkeypatch.setenv("MINITIK_DISPATCH", "off")
    assert "MINITIK_DISPATCH is off" in minitik.refused("dispatcher")
    assert registered(deployment) == 0


def test_a_preview_clears_nothing_away_by_hand_either(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, deployment: Engine
) -> None:
    """Switched off or of another name: what production has kept is not its to delete."""
    with deployment.begin() as connection:
        connection.execute(text("INSERT INTO settings VALUES ('instance', '\"one\"', now())"))
        connection.execute(
            text("INSERT INTO verification_tokens VALUES ('a@b.test', 'sha256:x', '2020-01-01')")
        )
    monkeypatch.setenv("MINITIK_INSTANCE", "two")
    assert "bound to 'one'" in minitik.refused("maintain")
    monkeypatch.setenv("MINITIK_DISPATCH", "off")
    assert "another deployment maintains" in minitik.refused("maintain")
    left = text("SELECT count(*) FROM verification_tokens")
    with deployment.connect() as connection:
        assert connection.execute(left).scalar_one() == 1
    monkeypatch.setenv("MINITIK_DISPATCH", "on")
    monkeypatch.setenv("MINITIK_INSTANCE", "one")
    minitik.good("maintain")
    with deployment.connect() as connection:
        assert connection.execute(left).scalar_one() == 0


def test_a_database_stamped_for_the_sandbox_is_not_published_to_the_world(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, deployment: Engine
) -> None:
    """Nor the other way round: the hosts decide, the stamp stays."""
    for name in Settings.model_fields:
        if name.endswith("_base_url"):
            monkeypatch.delenv(name.upper(), raising=False)
    line = minitik.refused("dispatcher")
    assert "stamped sandbox" in line
    assert "point to live" in line
    assert registered(deployment) == 0


def test_a_copy_of_a_deployment_is_refused_by_its_instance(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, deployment: Engine
) -> None:
    """The first dispatcher binds the database to its name."""
    monkeypatch.setenv("MINITIK_INSTANCE", "production")
    minitik("dispatcher", "--seconds", "0.5")
    monkeypatch.setenv("MINITIK_INSTANCE", "copy")
    line = minitik.refused("dispatcher")
    assert "'copy'" in line
    assert "bound to 'production'" in line
    assert registered(deployment) == 1


def test_another_schema_version_is_refused_with_the_command_to_run(
    minitik: Command, deployment: Engine, database_url: str
) -> None:
    migrate.downgrade(database_url)
    assert "run: minitik db upgrade" in minitik.refused("dispatcher")


def test_a_budget_that_no_call_fits_into_is_refused_at_start(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, deployment: Engine
) -> None:
    """Posts would wait for ever; nobody would see why."""
    monkeypatch.setenv("MINITIK_LIMITS", '{"youtube.units": 9}')
    assert "one call takes 56" in minitik.refused("dispatcher")
    assert registered(deployment) == 0


@pytest.mark.parametrize("name", ["DATABASE_URL", "ENCRYPTION_KEY", "AWS_S3_BUCKET"])
def test_what_a_dispatcher_cannot_do_without_is_named(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, deployment: Engine, name: str
) -> None:
    monkeypatch.delenv(name)
    assert name in minitik.refused("dispatcher")
    assert registered(deployment) == 0


def test_a_machine_whose_clock_is_beyond_the_bound_is_refused(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, deployment: Engine
) -> None:
    """One line that names the measured skew and the cure; nothing is claimed or registered."""
    monkeypatch.setenv("MINITIK_MAX_SKEW_SECONDS", "0.000000001")
    line = minitik.refused("dispatcher")
    assert "off the database's; synchronise it (NTP)" in line
    assert registered(deployment) == 0


def test_a_dispatcher_reports_its_measured_skew(minitik: Command, deployment: Engine) -> None:
    """`dispatchers.skewMs`: this machine's clock minus the database's, here one and the same."""
    minitik("dispatcher", "--seconds", "0.5")
    with deployment.connect() as connection:
        (skew,) = connection.execute(text('SELECT "skewMs" FROM dispatchers')).scalars()
    assert skew is not None
    assert abs(skew) < 2000


def test_a_health_check_tells_whether_this_hosts_dispatcher_beats(
    minitik: Command, on_database: Engine
) -> None:
    """By its heartbeat in the database: one of another machine, an ended or a silent one does not count."""
    assert minitik("dispatcher", "--check").code == 1
    host = socket.gethostname()
    _register(on_database, "other", "resident", "elsewhere", 0, ended=False)
    _register(on_database, "run", "dagster", host, 0, ended=False)
    _register(on_database, "ended", "resident", host, 0, ended=True)
    _register(on_database, "silent", "resident", host, 120, ended=False)
    assert minitik("dispatcher", "--check").code == 1
    _register(on_database, "mine", "resident", host, 1, ended=False)
    assert "beating" in minitik.good("dispatcher", "--check").out


def _register(engine: Engine, name: str, kind: str, host: str, age: int, *, ended: bool) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                'INSERT INTO dispatchers (id, kind, instance, host, pid, "startedAt", "heartbeatAt", '
                "\"endedAt\") SELECT :id, :kind, 'default', :host, 1, beat, beat, "
                "CASE WHEN :ended THEN beat END "
                "FROM (SELECT (now() AT TIME ZONE 'UTC') - make_interval(secs => :age) AS beat) b"
            ),
            {"id": name, "kind": kind, "host": host, "age": age, "ended": ended},
        )

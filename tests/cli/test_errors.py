"""Errors are one line on standard error: 1 for what is wrong, 2 for how it was called."""

import subprocess
import sys
import time

import pytest

from tests.cli.running import Command

DOWN = "postgresql://minitik:hunter2@127.0.0.1:1/none"


def test_a_bad_environment_is_told_in_one_line_without_its_values(
    minitik: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every problem at once, joined; no value is repeated."""
    monkeypatch.setenv("ENCRYPTION_KEY", "not-the-key-hunter2")
    monkeypatch.setenv("DATABASE_URL", "mysql://hunter2@host/db")
    monkeypatch.setenv("MINITIK_LEASE_SECONDS", "soon")
    line = minitik.refused("accounts", "list")
    assert "ENCRYPTION_KEY must be 32 bytes" in line
    assert "DATABASE_URL: must begin with postgresql://" in line
    assert "MINITIK_LEASE_SECONDS" in line
    assert "hunter2" not in line


def test_a_missing_database_url_says_what_to_do(minitik: Command) -> None:
    assert "DATABASE_URL is not set" in minitik.refused("keys", "list")


@pytest.mark.parametrize(
    "command",
    [
        ("accounts", "list"),
        ("db", "current"),
        ("db", "upgrade"),
        ("reviews", "list"),
        ("schedule", "list"),
        ("adopt",),
    ],
    ids=" ".join,
)
def test_a_database_that_is_down_is_one_line_without_its_password(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DATABASE_URL", DOWN)
    line = minitik.refused(*command)
    assert "PostgreSQL" in line
    assert "hunter2" not in line


def test_an_unmigrated_database_is_refused_with_the_command_to_run(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    assert "run: minitik db upgrade" in minitik.refused("accounts", "list")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("db", "nonsense"),
        ("keys", "create"),
        ("dispatcher", "--seconds", "soon"),
        ("reviews", "resolve", "p1"),
        ("reviews", "resolve", "p1", "--published", "x", "--not-published"),
        ("schedule", "list", "--status", "NEVER"),
        ("breaker", "reset", "myspace"),
        ("users", "create", "a@example.org", "--tier", "GOLD"),
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_one_line_and_exit_2(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    minitik.refused(*arguments, code=2)


@pytest.mark.parametrize("group", ["db", "users", "keys", "schedule", "reviews", "breaker"])
def test_a_group_alone_shows_its_commands(minitik: Command, group: str) -> None:
    """Help, readable: not squeezed into one line."""
    said = minitik(group)
    assert said.code in {0, 2}
    assert "Commands:" in said.out + said.err
    assert (said.out + said.err).count("\n") > 5


def test_help_does_not_wait_for_the_libraries_it_does_not_need() -> None:
    """SQLAlchemy, Dagster and Redis are imported by the commands that use them."""
    code = (
        "import sys, minitik_dagster.cli.main\n"
        "print(sorted({'sqlalchemy','dagster','redis','httpx2','boto3','alembic'} & set(sys.modules)))"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.monotonic() - started < 60

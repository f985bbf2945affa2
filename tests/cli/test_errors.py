"""Errors are one line on standard error: 1 for what is wrong, 2 for how it was called."""

import subprocess
import sys
import time

import pytest

from minitik_dagster import __version__
from minitik_dagster.cli import main
from minitik_dagster.errors import FieldProblem
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
        ("queues", "pause"),
        ("queues", "drain", "--platform", "myspace"),
        ("publications", "reconcile", "--day", "9999-12-31"),
        ("keys", "create", "a@example.org", "--days", "99999999999"),
        ("up", "--port", "99999"),
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_one_line_and_exit_2(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    minitik.refused(*arguments, code=2)


def test_a_wrong_value_is_named_with_its_option_and_what_it_must_be(minitik: Command) -> None:
    """In our words, not those of the library that parses; once, where those name it themselves."""
    said = minitik.refused("forecast", "--hours", "-1", code=2)
    assert said == (
        "minitik: Invalid value for '--hours': '-1' must be greater than or equal to 0.1\n"
    )
    said = minitik.refused("queues", "drain", "--all", "--only=some", code=2)
    assert said.count("some") == 1


def test_a_value_and_its_fix_are_two_phrases(minitik: Command) -> None:
    """Field, what is wrong, and after a dash what to do."""
    said = minitik.refused("queues", "pause", code=2)
    assert said == "minitik: all: one scope is needed - name all, one platform or one account\n"


def test_what_nobody_foresaw_is_one_line_with_the_place_to_report(
    minitik: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback helps nobody at night, and may show what it should not."""
    monkeypatch.setattr(main, "join_running_stack", lambda: FieldProblem("only the field"))  # type: ignore[call-arg]
    assert "unexpected TypeError in cli/main.py:" in minitik.refused("doctor")


def test_the_programs_version_is_told(minitik: Command) -> None:
    """What a report of a defect begins with."""
    assert minitik.good("--version").out == f"minitik {__version__}\n"


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

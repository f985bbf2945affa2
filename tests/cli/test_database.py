"""`minitik db`: what it shows, what it does, and that looking changes nothing."""

import pytest
from sqlalchemy import text

from minitik_dagster.db import migrate
from minitik_dagster.db.engine import make_engine
from tests.cli.running import Command


def test_a_database_goes_up_and_down_and_says_where_it_is(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    """`current` exits 1 while the versions differ."""
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    head = migrate.head_revision()
    assert minitik("db", "current").code == 1
    planned = minitik.good("db", "upgrade", "--dry-run").out
    assert "would apply 0001" in planned
    assert migrate.current(empty_database_url) is None
    assert f"the database is at {head}" in minitik.good("db", "upgrade").out
    assert minitik.good("db", "current").out == f"database {head}, program {head}\n"
    assert head not in minitik.good("db", "downgrade").out
    assert minitik("db", "current").code == 1


def test_a_database_of_a_newer_version_is_left_alone_and_told_as_such(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """`run: minitik db upgrade` would send an operator in a circle."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert "nothing is to be applied" in minitik.good("db", "upgrade", "--dry-run").out
    engine = make_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE minitik_alembic_version SET version_num = '9999'"))
    engine.dispose()
    for command in (("db", "upgrade"), ("db", "downgrade"), ("queues", "stats")):
        line = minitik.refused(*command)
        assert "at 9999, of a newer version than this program" in line
        assert "run: minitik db upgrade" not in line


def test_the_printed_sql_does_what_the_upgrade_does(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    """`--sql` is for operators who apply it themselves: it runs as it is."""
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    script = minitik.good("db", "upgrade", "--sql").out
    assert migrate.current(empty_database_url) is None
    engine = make_engine(empty_database_url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement.replace("%", "%%"))
        assert connection.execute(text("SELECT count(*) FROM publications")).scalar_one() == 0
    engine.dispose()
    assert migrate.current(empty_database_url) == migrate.head_revision()


def test_an_upgrade_stamps_the_database_with_where_the_platform_hosts_point(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    """Real hosts: live."""
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    minitik.good("db", "upgrade")
    engine = make_engine(empty_database_url)
    with engine.connect() as connection:
        stamp = connection.execute(
            text("SELECT value #>> '{}' FROM settings WHERE key = 'world'")
        ).scalar_one()
    engine.dispose()
    assert stamp == "live"


def test_migrations_take_the_direct_url(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    """Behind a transaction pooler a session lock would not hold."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://minitik@127.0.0.1:1/pooler")
    monkeypatch.setenv("DIRECT_URL", empty_database_url)
    minitik.good("db", "upgrade")
    assert migrate.current(empty_database_url) == migrate.head_revision()

"""A command on a database of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from minitik_dagster.db.engine import make_engine
from tests.cli.running import Command


@pytest.fixture
def minitik(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """The command line, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capsys)


@pytest.fixture
def on_database(monkeypatch: pytest.MonkeyPatch, database_url: str) -> Iterator[Engine]:
    """DATABASE_URL set to a database at the newest schema; its engine."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    engine = make_engine(database_url)
    yield engine
    engine.dispose()

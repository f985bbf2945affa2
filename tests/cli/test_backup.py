"""A back-up before a migration: checked before anything changes, and brought back by pg_restore."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from minitik_dagster.db import migrate
from minitik_dagster.db.backup import BackupError, back_up, programs
from minitik_dagster.db.engine import make_engine
from minitik_dagster.errors import ConfigurationError
from minitik_dagster.local.servers.postgres import installation
from tests.cli.running import Command


@pytest.fixture(autouse=True)
def programs_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own pg_dump stands on PATH, behind whatever else the machine has."""
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}{os.pathsep}{installation() / 'bin'}")


def _settings(url: str) -> list[tuple[str, str]]:
    engine = make_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT key, value::text FROM settings ORDER BY key")).all()
    engine.dispose()
    return [(row[0], row[1]) for row in rows]


def test_an_upgrade_backs_up_first_and_the_file_restores_to_what_stood_before(
    minitik: Command,
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
    empty_database_url: str,
    tmp_path: Path,
) -> None:
    """Rows and version are the old ones, and from there the same upgrade works."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MINITIK_HOME", str(tmp_path))
    old = migrate.downgrade(database_url)
    assert old is not None
    before = _settings(database_url)
    said = minitik.good("db", "upgrade", "--backup").out
    [file] = (tmp_path / "backups").iterdir()
    assert f"backed up to {file}\napplying " in said
    assert file.name.endswith(f"Z-{old}.dump")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    _, restore = programs(18)
    subprocess.run(
        [restore, "--no-owner", "--exit-on-error", f"--dbname={empty_database_url}", str(file)],
        check=True,
        timeout=60,
    )
    assert migrate.current(empty_database_url) == old
    assert _settings(empty_database_url) == before
    assert migrate.upgrade(empty_database_url)
    assert migrate.current(empty_database_url) == migrate.head_revision()


def test_nothing_to_apply_makes_no_backup(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path
) -> None:
    """A repeated upgrade fills no disk."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    said = minitik.good("db", "upgrade", "--backup-dir", str(tmp_path / "here")).out
    assert "no back-up was made" in said
    assert not (tmp_path / "here").exists()


def test_without_pg_dump_of_the_servers_release_it_says_what_to_install(
    minitik: Command,
    monkeypatch: pytest.MonkeyPatch,
    empty_database_url: str,
    tmp_path: Path,
) -> None:
    """One line, and the migration has not begun; an older pg_dump is named."""
    older = tmp_path / "bin"
    older.mkdir()
    for name in ("pg_dump", "pg_restore"):
        (older / name).write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6'\n")
        (older / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(older))
    monkeypatch.setattr("minitik_dagster.db.backup._USUAL_FOLDERS", ())
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    told = minitik.refused("db", "upgrade", "--backup-dir", str(tmp_path / "backups"))
    assert "apt-get install postgresql-client-18" in told
    assert f"{older / 'pg_dump'} is 9" in told
    assert migrate.current(empty_database_url) is None
    with pytest.raises(ConfigurationError):
        programs(18)
    fit = installation() / "bin"
    monkeypatch.setenv("PATH", f"{older}{os.pathsep}{fit}")
    assert programs(18) == (str(fit / "pg_dump"), str(fit / "pg_restore"))


def test_a_dump_that_cannot_be_read_to_its_end_stops_the_upgrade(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path
) -> None:
    """A full disk, say: the file is gone again, and the schema stands where it stood."""
    broken = tmp_path / "bin"
    broken.mkdir()
    real = installation() / "bin"
    (broken / "pg_dump").write_text(
        f'#!/bin/sh\n"{real}/pg_dump" "$@" || exit 1\n'
        'for word in "$@"; do case "$word" in --file=*) f="${word#--file=}"; truncate -s -400 "$f";;'
        " esac; done\n"
    )
    (broken / "pg_restore").symlink_to(real / "pg_restore")
    (broken / "pg_dump").chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("DATABASE_URL", database_url)
    old = migrate.downgrade(database_url)
    told = minitik.refused("db", "upgrade", "--backup-dir", str(tmp_path / "backups"))
    assert "pg_restore failed" in told
    assert migrate.current(database_url) == old
    assert list((tmp_path / "backups").iterdir()) == []


def test_the_password_stands_in_no_argument_and_in_no_error(
    monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path
) -> None:
    """Every user of a machine sees the arguments of its processes."""
    spy = tmp_path / "bin"
    spy.mkdir()
    (spy / "pg_dump").write_text(
        '#!/bin/sh\ncase "$1" in --version) echo "pg_dump (PostgreSQL) 99.1"; exit;; esac\n'
        'echo "$@" > "$(dirname "$0")/arguments"; echo "password=planted-secret" >&2; exit 1\n'
    )
    (spy / "pg_restore").write_text("#!/bin/sh\n")
    for program in spy.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy}{os.pathsep}/usr/bin{os.pathsep}/bin")
    with pytest.raises(BackupError) as caught:
        back_up(database_url, tmp_path / "backups", version="none")
    assert "planted-secret" not in str(caught.value)
    password = make_url(database_url).password
    assert password
    assert password not in (spy / "arguments").read_text()


def test_an_empty_database_is_no_backup(empty_database_url: str, tmp_path: Path) -> None:
    """A back-up without one table would be found out too late."""
    with pytest.raises(BackupError, match="no table"):
        back_up(empty_database_url, tmp_path / "backups", version="none")

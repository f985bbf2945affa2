"""A back-up of the database by PostgreSQL's own pg_dump, read through once before anything relies on it.

The file is in pg_dump's custom format; `pg_restore` brings it back (PostgreSQL documentation, "pg_dump",
"pg_restore"). It holds everything that the database holds, sealed tokens and people's addresses included:
only its owner can read it.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from minitik_dagster.db.engine import parse_database_url
from minitik_dagster.errors import ConfigurationError, MinitikError
from minitik_dagster.redaction import redact_credentials

# Where the packages of Debian, Ubuntu, Fedora and RHEL put the programs of each release.
_USUAL_FOLDERS: Final = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)")


class BackupError(MinitikError):
    """No back-up was made, or what was made cannot be read; nothing else was done."""


def back_up(database_url: str, folder: Path, *, version: str) -> Path:
    """Dump the database into a file of `folder` and read it through; return the file.

    Args:
        database_url: A direct connection; a pooler cannot hold pg_dump's snapshot.
        folder: Made when it is not there; the file's name tells the server's instant (UTC) and the version.
        version: The schema's version, as `current` tells it.

    Raises:
        ConfigurationError: pg_dump of the server's release or a newer one is not installed.
        BackupError: the dump failed, or cannot be read to its end.

    """
    url = parse_database_url(database_url).url
    release, now = _server(url)
    dump, restore = programs(release)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = folder / f"minitik-{now:%Y%m%dT%H%M%SZ}-{version}.dump"
    part = target.with_suffix(".part")
    try:
        # With the owner's rights alone before the first byte: pg_dump only opens it.
        part.touch(mode=0o600, exist_ok=True)
        arguments = ["--format=custom", "--no-password", f"--file={part}"]
        with _reachable(url) as address:
            _run([dump, *arguments, f"--dbname={address}"])
        tables = _check(restore, part)
        if not tables:
            raise BackupError("pg_dump wrote no table: does the user own the database?")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(target)
    except OSError as problem:
        raise BackupError(f"{folder} takes no back-up: {problem.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return target


def _server(url: URL) -> tuple[int, datetime]:
    """Return the server's release (18) and its clock."""
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            row = connection.execute(
                text("SELECT current_setting('server_version_num')::int / 10000, now()")
            ).one()
    finally:
        engine.dispose()
    return int(row[0]), row[1].astimezone(UTC)


def programs(wanted: int) -> tuple[str, str]:
    """Return pg_dump and pg_restore of the server's release or a newer one: an older one refuses.

    Raises ConfigurationError, naming what to install, where there is none.
    """
    found = []
    for folder in _folders():
        dump, restore = folder / "pg_dump", folder / "pg_restore"
        release = _release(dump) if dump.exists() and restore.exists() else None
        if release is not None and release >= wanted:
            return str(dump), str(restore)
        found += [f"{dump} is {release}"] if release is not None else []
    raise ConfigurationError(
        [
            f"a back-up needs pg_dump and pg_restore {wanted} or newer on PATH: "
            f"apt-get install postgresql-client-{wanted}"
            + (f" ({', '.join(found)})" if found else "")
        ]
    )


def _folders() -> Iterable[Path]:
    # All of PATH: what stands first may be of an older release, or a distribution's wrapper.
    yield from map(Path, os.get_exec_path())
    for pattern in _USUAL_FOLDERS:
        yield from sorted(Path("/").glob(pattern.removeprefix("/")), reverse=True)


def _release(program: Path) -> int | None:
    try:
        told = subprocess.run(  # noqa: S603 - a program found by its name, no shell
            [str(program), "--version"], capture_output=True, text=True, timeout=30, check=False
        ).stdout
    except OSError:
        return None
    found = _VERSION.search(told)
    return int(found.group(1)) if found else None


def _check(restore: str, file: Path) -> int:
    """Read the whole file as a restore would; return how many tables' rows it holds."""
    _run([restore, "--file=/dev/null", str(file)])
    contents = _run([restore, "--list", str(file)])
    return sum(" TABLE DATA " in line for line in contents.splitlines())


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(  # noqa: S603 - a program found by its name, no shell
        command, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        program = Path(command[0]).name
        raise BackupError(f"{program} failed: {redact_credentials(lines[-1])}; nothing was changed")
    return done.stdout


@contextmanager
def _reachable(url: URL) -> Iterator[str]:
    """Yield the URL as a process may show it in its arguments: the password stands in a file of its own.

    The file is gone after the block (PostgreSQL documentation, "The Password File").
    """
    password = url.password or url.query.get("password")
    query = {name: value for name, value in url.query.items() if name != "password"}
    with tempfile.TemporaryDirectory(prefix="minitik-") as folder:
        if isinstance(password, str):
            file = Path(folder) / "pgpass"
            file.touch(mode=0o600)
            escaped = password.replace("\\", "\\\\").replace(":", "\\:")
            file.write_text(f"*:*:*:*:{escaped}\n")
            query["passfile"] = str(file)
        bare = URL.create(
            "postgresql",
            username=url.username,
            host=url.host,
            port=url.port,
            database=url.database,
            query=query,
        )
        yield bare.render_as_string(hide_password=False)

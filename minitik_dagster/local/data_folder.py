"""The folder a local stack keeps everything in, owned by one supervisor at a time."""

import fcntl
import os
from pathlib import Path

from minitik_dagster.local.errors import FolderUnusableError, LocalStackError


class DataFolder:
    """`<data dir>`: servers' data, logs, keys and endpoints.

    `open()` makes it and takes its lock, which the kernel releases however the holder ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    @property
    def logs(self) -> Path:
        """Where each part's log file lies."""
        return self.path / "logs"

    @property
    def endpoints_file(self) -> Path:
        """Present while a stack runs."""
        return self.path / "endpoints.json"

    @property
    def secrets_file(self) -> Path:
        """Generated keys, kept between starts."""
        return self.path / "secrets.env"

    @property
    def dagster_home(self) -> Path:
        """DAGSTER_HOME of the stack."""
        return self.path / "dagster"

    @property
    def is_open(self) -> bool:
        """Whether we own the folder now."""
        return self._lock is not None

    def open(self) -> None:
        """Make the folder and own it until `close()`.

        Raises FolderUnusableError when it cannot be written, LocalStackError when another stack
        runs in it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.logs.mkdir(exist_ok=True, mode=0o700)
            probe = self.path / ".writable"
            probe.touch()
            probe.unlink()
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FolderUnusableError(
                f"data folder {self.path} cannot be used: {error.strerror}; "
                "choose another with --data-dir"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
            os.close(lock)
            raise LocalStackError(
                f"a stack already runs in {self.path} (process {holder or 'unknown'}); its "
                f"addresses are in {self.endpoints_file.name}"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def close(self) -> None:
        """Give the folder up; safe to call twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_owned_by_someone(self) -> bool:
        """Whether a running supervisor holds the folder."""
        try:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(lock)
        return False

    def log(self, part: str) -> Path:
        """The log file of one part; what an earlier start wrote is kept beside it as `.1`."""
        path = self.logs / f"{part}.log"
        if path.exists() and path.stat().st_size:
            path.replace(path.with_suffix(".log.1"))
        return path

"""What an upload remembers on disk, so that the next start goes on where the last one was killed."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from minitik_dagster.errors import FieldProblem, InvalidInputError, StateConflictError


@dataclass
class UploadState:
    """One file's upload; holds no secret. `once` is its Idempotency-Key: it begins once."""

    api: str
    size: int
    modified_ns: int
    once: str
    content_id: str | None = None

    @classmethod
    def of(cls, api: str, file: Path) -> "UploadState":
        """Describe an upload of `file` that has not begun."""
        facts = file.stat()
        return cls(api, facts.st_size, facts.st_mtime_ns, secrets.token_urlsafe(24))

    def is_of(self, other: "UploadState") -> bool:
        """Whether both speak of the same server and the same, unchanged file."""
        mine, theirs = ((state.api, state.size, state.modified_ns) for state in (self, other))
        return mine == theirs


class StateFile:
    """The state on disk. Its lock ends with the process, however that ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def read(self) -> UploadState | None:
        """Return what is stored; None for a new file.

        Raises InvalidInputError for a file that is no state: it may be somebody's.
        """
        text = os.pread(self._descriptor, 65_536, 0)
        if not text:
            return None
        try:
            return UploadState(**json.loads(text))
        except (ValueError, TypeError):
            raise InvalidInputError(
                FieldProblem(
                    "state", f"{self.path} is no upload's state.", "Delete it, or name another one."
                )
            ) from None

    def write(self, state: UploadState) -> None:
        """Store it, on the disk when this returns."""
        text = json.dumps(asdict(state)).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)
        os.fsync(self._descriptor)

    def forget(self) -> None:
        """Remove it: there is nothing left to resume."""
        os.ftruncate(self._descriptor, 0)
        self.path.unlink(missing_ok=True)


def state_path(file: Path) -> Path:
    """Where a file's upload is remembered, unless another place is named."""
    return file.with_name(f"{file.name}.minitik-upload")


@contextmanager
def open_state(path: Path) -> Iterator[StateFile]:
    """Open and lock a state file; StateConflictError while another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateConflictError(
                f"another process is uploading this file (it holds {path})", state="uploading"
            ) from None
        try:
            yield StateFile(path, descriptor)
        finally:
            if os.fstat(descriptor).st_size == 0:
                path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)

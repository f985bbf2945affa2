"""Child processes that never outlive us: each leads a session of its own and is watched."""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minitik_dagster.local import guard as guard_program
from minitik_dagster.local.errors import NotReadyError, PartDiedError

_POLL_SECONDS = 0.03


class Guard:
    """A helper process that ends our children when we are gone, by `kill -9` too.

    One per process of ours, started with the first child; see guard.py.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def _send(self, line: str) -> None:
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                self._start()
            process = self._process
            if process is None or process.stdin is None:
                return
            # A guard that somebody ended by hand costs the safety net, not the stack.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(line.encode() + b"\n")
                process.stdin.flush()

    def _start(self) -> None:
        self._owner = os.getpid()
        self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
            [sys.executable, "-I", "-S", str(Path(guard_program.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        atexit.register(self.close)

    def watch(self, pgid: int, stop_signal: signal.Signals) -> None:
        """End this group with `stop_signal` (then SIGKILL) should we disappear."""
        self._send(f"+{pgid} {int(stop_signal)}")

    def forget(self, pgid: int) -> None:
        """The group has ended: its number may belong to somebody else from now on."""
        self._send(f"-{pgid}")

    def remove_at_end(self, folder: Path) -> None:
        """Remove this temporary folder after everything has ended."""
        self._send(f"RMTREE {folder}")

    def close(self) -> None:
        """Let the guard do its last work now and wait for it."""
        with self._lock:
            process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=guard_program.GRACE_SECONDS + 5)


GUARD = Guard()


@dataclass(frozen=True)
class Identity:
    """The user a child runs as (numbers), where it is not our own."""

    uid: int
    gid: int


class ChildProcess:
    """One process of the stack: started in its own session, logging to a file, always stopped.

    `stop_signal` asks it to end; what is left of its group after `grace_seconds` is killed.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        identity: Identity | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        grace_seconds: float = 10.0,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log = log
        self._env = dict(env) if env is not None else None
        self._cwd = cwd
        self._identity = identity
        self._stop_signal = stop_signal
        self._grace_seconds = grace_seconds
        self._popen: subprocess.Popen[bytes] | None = None
        self._orphans: list[int] = []

    @property
    def pid(self) -> int | None:
        """The process id, or None before start and after stop."""
        return self._popen.pid if self._popen is not None else None

    @property
    def returncode(self) -> int | None:
        """The exit status once it has ended (negative: the signal), None while it runs."""
        return self._popen.poll() if self._popen is not None else None

    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        """Start it, or start it again after it has ended; its output is appended to the log file.

        Children that an earlier life left behind go on (a code server's runs), until `stop`.
        """
        if self._popen is not None:
            self._orphans.append(self._popen.pid)
        self.forget_ended_groups()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - a fixed list of ours, no shell
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
                user=self._identity.uid if self._identity else None,
                group=self._identity.gid if self._identity else None,
                extra_groups=[] if self._identity else None,
            )
        GUARD.watch(self._popen.pid, self._stop_signal)

    def wait_until(
        self,
        ready: Callable[[], bool],
        *,
        timeout_seconds: float,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Wait until `ready()` is true.

        Raises PartDiedError when the process ends first, NotReadyError at the time-out. Returns
        quietly when `cancelled()` turns true: the caller is being stopped.
        """
        deadline = time.monotonic() + timeout_seconds
        while not cancelled():
            if not self.is_running():
                raise PartDiedError(self.name, self.returncode, self.log)
            if ready():
                return
            if time.monotonic() > deadline:
                raise NotReadyError(self.name, timeout_seconds, self.log)
            time.sleep(_POLL_SECONDS)

    def request_stop(self) -> None:
        """Send the stop signal to the process and its children, without waiting.

        A code server's runs hear it directly: they drain while the server waits for them.
        """
        for pgid in self._orphans:
            _signal_group(pgid, self._stop_signal)
        if self._popen is not None:
            _signal(self._popen, self._stop_signal)

    def stop(self) -> None:
        """Stop it and everything left of its group; safe to call twice."""
        popen, self._popen = self._popen, None
        if popen is not None:
            _signal(popen, self._stop_signal)
            try:
                popen.wait(timeout=self._grace_seconds)
            except subprocess.TimeoutExpired:
                _signal(popen, signal.SIGKILL)
                popen.wait(timeout=10)
            self._orphans.append(popen.pid)
        # Children of the child (a code server's runs) go the same way.
        groups, self._orphans = self._orphans, []
        guard_program.end_groups(dict.fromkeys(groups, int(signal.SIGTERM)), 3.0)
        for pgid in groups:
            GUARD.forget(pgid)

    def kill(self) -> None:
        """`kill -9` of the whole group, as a crash would; then reap it."""
        if self._popen is None:
            return
        _signal_group(self._popen.pid, signal.SIGKILL)
        self._popen.wait(timeout=10)
        GUARD.forget(self._popen.pid)
        self._popen = None

    def forget_ended_groups(self) -> None:
        """Drop what an earlier life left and has ended: its number may be somebody else's soon.

        Asked often: the kernel keeps a number from others only while somebody is in the group.
        """
        for pgid in list(self._orphans):
            if not guard_program.group_lives(pgid):
                GUARD.forget(pgid)
                self._orphans.remove(pgid)


def _signal(popen: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if popen.poll() is None:
        _signal_group(popen.pid, number)


def _signal_group(pgid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pgid, number)

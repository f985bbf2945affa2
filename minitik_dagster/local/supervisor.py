"""Watches the stack's processes: waits for them in words, notices a death, stops all of them."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from minitik_dagster.local.errors import LocalStackError, NotReadyError, PartDiedError
from minitik_dagster.local.process import ChildProcess

Say = Callable[[str], None]
# Asked often at first, when most parts are ready soon, then less often: each question costs CPU.
_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS = 0.03, 0.3
_WATCH_SECONDS = 0.2


class StopRequestedError(LocalStackError):
    """Ctrl-C or SIGTERM came while something was being waited for."""


class Supervisor:
    """Owns child processes in waves: a later wave needs the earlier ones and is stopped first."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._waves: dict[int, list[ChildProcess]] = {}
        self._stop = threading.Event()

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Turn SIGINT, SIGTERM and SIGHUP into a request to stop, for the length of the block."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()

    def adopt(self, child: ChildProcess, *, wave: int) -> None:
        """Watch a process that was started and stop it with the rest."""
        self._waves.setdefault(wave, []).append(child)

    def start(self, child: ChildProcess, *, wave: int) -> None:
        """Start a process and watch it."""
        child.start()
        self.adopt(child, wave=wave)

    def check(self) -> None:
        """Raise PartDiedError for a process that ended by itself, StopRequestedError on a signal."""
        if self._stop.is_set():
            raise StopRequestedError("stopped by a signal")
        for children in self._waves.values():
            for child in children:
                if not child.is_running():
                    raise PartDiedError(child.name, child.returncode, child.log)

    def wait_for(
        self,
        what: str,
        ready: Callable[[], bool],
        *,
        timeout_seconds: float,
        log: Path | None = None,
    ) -> None:
        """Say what is waited for, and wait until `ready()`; other processes are watched meanwhile.

        Raises what `check` raises, and NotReadyError at the time-out.
        """
        began = time.monotonic()
        said = False
        pause = _FIRST_POLL_SECONDS
        while True:
            self.check()
            if ready():
                break
            if not said:
                self._say(f"waiting for {what} …")
                said = True
            if time.monotonic() - began > timeout_seconds:
                raise NotReadyError(what, timeout_seconds, log)
            self._stop.wait(pause)
            pause = min(pause * 1.3, _LAST_POLL_SECONDS)
        self._say(f"{what}: ready")

    def watch(self, until: Callable[[], bool] = lambda: False) -> None:
        """Return when a stop is requested or `until()` holds; raise PartDiedError on a death."""
        while not until():
            try:
                self.check()
            except StopRequestedError:
                return
            self._stop.wait(_WATCH_SECONDS)

    def stop(self) -> None:
        """Stop every process, the last wave first, all of a wave together; safe to call twice."""
        for wave in sorted(self._waves, reverse=True):
            children = self._waves.pop(wave)
            for child in children:
                child.request_stop()
            for child in children:
                child.stop()

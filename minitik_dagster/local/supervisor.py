"""Watches the stack's processes: waits for them in words, starts the dead again, stops all of them.

While the stack starts, a death ends it: what the others need is missing. Once it is up, a part that dies
is started again and takes nothing else down; what each one's absence costs is told in docs/failures.md.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from minitik_dagster.errors import MinitikError
from minitik_dagster.local.errors import LocalStackError, NotReadyError, PartDiedError
from minitik_dagster.local.process import ChildProcess

Say = Callable[[str], None]
# Asked often at first, when most parts are ready soon, then less often: each question costs CPU.
_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS = 0.03, 0.3
_WATCH_SECONDS = 0.2
# A part that dies again and again is started ever more rarely, and never given up.
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.5, 60.0
# One that has lived so long begins anew with the shortest pause.
_STEADY_SECONDS = 60.0


class StopRequestedError(LocalStackError):
    """Ctrl-C or SIGTERM came while something was being waited for."""


@dataclass
class _Part:
    """A watched process, and how it is started again; `again` None: its death ends the stack."""

    child: ChildProcess
    again: Callable[[], ChildProcess] | None
    started_at: float
    pause: float = _FIRST_PAUSE_SECONDS
    due_at: float | None = None
    """When it is started again, while it is dead."""


class Supervisor:
    """Owns child processes in waves: a later wave needs the earlier ones and is stopped first."""

    def __init__(self, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._waves: dict[int, list[_Part]] = {}
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

    def adopt(
        self,
        child: ChildProcess,
        *,
        wave: int,
        again: Callable[[], ChildProcess] | None = None,
    ) -> None:
        """Watch a process that was started and stop it with the rest.

        `again` starts it anew after its death and returns the process to watch from then on.
        """
        self._waves.setdefault(wave, []).append(_Part(child, again, self._clock()))

    def start(self, child: ChildProcess, *, wave: int) -> None:
        """Start a process and watch it; after its death it is started again."""

        def again() -> ChildProcess:
            child.start()
            return child

        child.start()
        self.adopt(child, wave=wave, again=again)

    def check(self) -> None:
        """Raise PartDiedError for a process that ended by itself, StopRequestedError on a signal."""
        if self._stop.is_set():
            raise StopRequestedError("stopped by a signal")
        for part in self._parts():
            if not part.child.is_running():
                raise PartDiedError(part.child.name, part.child.returncode, part.child.log)

    def look(self) -> None:
        """Start again what has died and whose pause is over, with a line each.

        Raises PartDiedError for a process that cannot be started again.
        """
        for part in self._parts():
            part.child.forget_ended_groups()
            if part.due_at is not None:
                if self._clock() >= part.due_at:
                    self._start_again(part)
            elif not part.child.is_running():
                self._mourn(part)

    def _parts(self) -> list[_Part]:
        return [part for wave in sorted(self._waves) for part in self._waves[wave]]

    def _mourn(self, part: _Part) -> None:
        death = PartDiedError(part.child.name, part.child.returncode, part.child.log)
        if part.again is None:
            raise death
        if self._clock() - part.started_at >= _STEADY_SECONDS:
            part.pause = _FIRST_PAUSE_SECONDS
        self._say(f"{death}; it is started again in {part.pause:g} s")
        self._postpone(part)

    def _postpone(self, part: _Part) -> None:
        part.due_at = self._clock() + part.pause
        part.pause = min(part.pause * 2, _LAST_PAUSE_SECONDS)

    def _start_again(self, part: _Part) -> None:
        assert part.again is not None
        try:
            part.child = part.again()
        except (MinitikError, OSError) as error:
            self._say(f"{part.child.name}: {error}; tried again in {part.pause:g} s")
            self._postpone(part)
            return
        part.due_at, part.started_at = None, self._clock()

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
        """Keep every process running; return when a stop is requested or `until()` holds.

        Raises PartDiedError for a process that cannot be started again.
        """
        while not self._stop.is_set() and not until():
            self.look()
            self._stop.wait(_WATCH_SECONDS)

    def stop(self) -> None:
        """Stop every process, the last wave first, all of a wave together; safe to call twice."""
        for wave in sorted(self._waves, reverse=True):
            children = [part.child for part in self._waves.pop(wave)]
            for child in children:
                child.request_stop()
            for child in children:
                child.stop()

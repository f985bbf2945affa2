"""The supervisor waits in words, starts the dead again, and stops waves in order."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from minitik_dagster.local.errors import NotReadyError, PartDiedError, PortTakenError
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.local.supervisor import StopRequestedError, Supervisor


def child(name: str, program: str, folder: Path) -> ChildProcess:
    return ChildProcess(
        name,
        [sys.executable, "-I", "-S", "-c", program],
        log=folder / f"{name}.log",
        grace_seconds=1.0,
    )


SLEEPS = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
)
FORKS = (
    "import subprocess, sys, time\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "time.sleep(60)"
)


def test_a_process_that_dies_while_another_is_waited_for_is_named(tmp_path: Path) -> None:
    """The line names the part, how it ended, and its log."""
    supervisor = Supervisor(lambda _: None)
    supervisor.start(child("good", SLEEPS, tmp_path), wave=0)
    supervisor.start(child("bad", "raise SystemExit(3)", tmp_path), wave=0)
    try:
        with pytest.raises(PartDiedError, match=r"^bad died \(exit 3\); its log: .*bad\.log$"):
            supervisor.wait_for("the end of time", lambda: False, timeout_seconds=20)
    finally:
        supervisor.stop()


def test_waiting_says_what_for_and_ends_at_its_limit(tmp_path: Path) -> None:
    """Patience has a limit, and the lines before it say what was waited for."""
    said: list[str] = []
    supervisor = Supervisor(said.append)
    with pytest.raises(NotReadyError, match="the moon did not answer"):
        supervisor.wait_for("the moon", lambda: False, timeout_seconds=0.1)
    assert said == ["waiting for the moon …"]


def test_a_signal_ends_waiting_and_watching() -> None:
    """Ctrl-C during the start stops what has been started instead of leaving it."""
    supervisor = Supervisor(lambda _: None)
    with supervisor.signals():
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        with pytest.raises(StopRequestedError):
            supervisor.wait_for("a signal", lambda: False, timeout_seconds=20)
        timer.join()
        supervisor.watch()


def test_later_waves_are_stopped_first(tmp_path: Path) -> None:
    """What writes ends before what it writes to."""
    supervisor = Supervisor(lambda _: None)
    order = tmp_path / "order"
    notes = (
        "import signal, sys, time\n"
        f"def end(*_):\n    open({str(order)!r}, 'a').write(sys.argv[1])\n    sys.exit(0)\n"
        "signal.signal(15, end)\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    for wave in (0, 1, 2):
        process = child(f"wave{wave}", notes, tmp_path)
        process.argv.append(str(wave))
        supervisor.start(process, wave=wave)
        supervisor.wait_for(
            f"wave {wave}",
            lambda log=process.log: "ready" in log.read_text(),  # type: ignore[misc] # bound now
            timeout_seconds=20,
        )
    supervisor.stop()
    assert order.read_text() == "210"


def test_a_process_that_ignores_its_signal_is_killed_after_its_grace(tmp_path: Path) -> None:
    """Stopping ends, whatever a part thinks of it."""
    stubborn = child("stubborn", STUBBORN, tmp_path)
    stubborn.start()
    stubborn.wait_until(lambda: "1" in stubborn.log.read_text(), timeout_seconds=20)
    stubborn.stop()
    assert not stubborn.is_running()


def test_children_of_a_child_are_stopped_with_it(tmp_path: Path) -> None:
    """A code server's runs must not outlive it."""
    import psutil

    parent = child("parent", FORKS, tmp_path)
    parent.start()
    assert parent.pid is not None
    family = psutil.Process(parent.pid)
    parent.wait_until(lambda: bool(family.children()), timeout_seconds=20)
    below = family.children()
    parent.stop()
    assert all(
        not process.is_running() or process.status() == psutil.STATUS_ZOMBIE for process in below
    )


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ended(process: ChildProcess) -> None:
    """Wait until the process has ended by itself."""
    with pytest.raises(PartDiedError):
        process.wait_until(lambda: False, timeout_seconds=20)


def test_a_part_that_dies_is_started_again_and_takes_nothing_down(tmp_path: Path) -> None:
    """One line names it, its end, its log and the pause; the others keep their process."""
    said: list[str] = []
    clock = Clock()
    supervisor = Supervisor(said.append, clock)
    other, victim = child("other", SLEEPS, tmp_path), child("victim", SLEEPS, tmp_path)
    supervisor.start(other, wave=0)
    supervisor.start(victim, wave=1)
    try:
        before, first = other.pid, victim.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        ended(victim)
        supervisor.look()
        assert said == [
            (
                f"victim died (killed by signal 9); its log: {tmp_path / 'victim.log'}; "
                "it is started again in 0.5 s"
            )
        ]
        supervisor.look()
        assert not victim.is_running()
        clock.now += 0.5
        supervisor.look()
        assert victim.is_running()
        assert (other.pid, victim.pid != first) == (before, True)
        assert len(said) == 1
    finally:
        supervisor.stop()
    assert not victim.is_running()


def test_a_part_that_keeps_dying_is_started_ever_more_rarely_and_never_given_up(
    tmp_path: Path,
) -> None:
    """0.5 s, doubled up to a minute; whoever lived for a minute begins anew."""
    said: list[str] = []
    clock = Clock()
    supervisor = Supervisor(said.append, clock)
    doomed = child("doomed", "raise SystemExit(3)", tmp_path)
    supervisor.start(doomed, wave=0)
    pauses = []
    try:
        for lived in [0.0] * 9 + [60.0]:
            ended(doomed)
            clock.now += lived
            supervisor.look()
            pauses.append(float(said[-1].removesuffix(" s").rpartition(" ")[2]))
            clock.now += pauses[-1]
            supervisor.look()
    finally:
        supervisor.stop()
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 0.5]


def test_a_part_that_cannot_be_started_again_is_tried_again(tmp_path: Path) -> None:
    """A port that is taken for a moment ends nothing: the reason is said, the pause grows."""
    said: list[str] = []
    clock = Clock()
    supervisor = Supervisor(said.append, clock)
    victim = child("victim", "raise SystemExit(3)", tmp_path)
    refusals = [PortTakenError("victim", 1), None]

    def again() -> ChildProcess:
        if (refusal := refusals.pop(0)) is not None:
            raise refusal
        victim.argv[-1] = SLEEPS
        victim.start()
        return victim

    victim.start()
    supervisor.adopt(victim, wave=0, again=again)
    try:
        ended(victim)
        supervisor.look()
        clock.now += 0.5
        supervisor.look()
        assert "already taken" in said[-1]
        assert said[-1].endswith("tried again in 1 s")
        clock.now += 1
        supervisor.look()
        assert victim.is_running()
    finally:
        supervisor.stop()


def test_a_part_without_a_way_back_ends_the_watch(tmp_path: Path) -> None:
    """What was only adopted is not ours to start."""
    supervisor = Supervisor(lambda _: None)
    alone = child("alone", "raise SystemExit(3)", tmp_path)
    alone.start()
    supervisor.adopt(alone, wave=0)
    try:
        with pytest.raises(PartDiedError, match="alone died"):
            supervisor.watch()
    finally:
        supervisor.stop()


def test_children_of_a_dead_part_go_on_beside_its_next_life_until_the_stop(tmp_path: Path) -> None:
    """A code server's runs hold posts: its death and return must not end them."""
    import psutil

    clock = Clock()
    supervisor = Supervisor(lambda _: None, clock)
    parent = child("parent", FORKS, tmp_path)
    supervisor.start(parent, wave=0)
    try:
        assert parent.pid is not None
        family = psutil.Process(parent.pid)
        parent.wait_until(lambda: bool(family.children()), timeout_seconds=20)
        [run] = family.children()
        os.kill(parent.pid, signal.SIGKILL)
        ended(parent)
        supervisor.look()
        clock.now += 1
        supervisor.look()
        assert parent.is_running()
        assert run.is_running()
    finally:
        supervisor.stop()
    assert not run.is_running() or run.status() == psutil.STATUS_ZOMBIE

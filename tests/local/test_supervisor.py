"""The supervisor waits in words, notices a death, and stops waves in order."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from minitik_dagster.local.errors import NotReadyError, PartDiedError
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

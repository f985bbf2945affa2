"""`minitik demo`: the whole promise, shown once, on a stack that runs or is started for it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from minitik_dagster.clock import iso_z
from minitik_dagster.local.data_folder import DataFolder
from minitik_dagster.local.demo_display import Display
from minitik_dagster.local.demo_journey import ZONE, JourneyResult, travel
from minitik_dagster.local.endpoints import Endpoints, running_endpoints
from minitik_dagster.local.errors import LocalStackError, NotReadyError, PartDiedError
from minitik_dagster.local.plan import StackOptions
from minitik_dagster.local.stack import Stack
from minitik_dagster.local.supervisor import StopRequestedError
from minitik_dagster.local.up import EXIT_GOOD, EXIT_INTERRUPTED, EXIT_WRONG, complain, explain

_DETACHED_TIMEOUT_SECONDS = 180.0


def run_demo(data_dir: Path, *, keep: bool, as_json: bool) -> int:
    """Run the demo; returns 0 only if all posts are public exactly once and on time."""
    # With --json standard output holds the result alone.
    display = Display(sys.stderr if as_json else sys.stdout)
    folder = DataFolder(data_dir)
    try:
        with ExitStack() as cleanup:
            endpoints, check, how_to_go_on = _stack(folder, display, cleanup, keep=keep)
            result = travel(endpoints, display, check)
            _report(result, display, as_json=as_json)
            if not result.problems and not how_to_go_on:
                display.say("stopping the stack …")
    except (StopRequestedError, KeyboardInterrupt):
        complain("stopped by a signal")
        return EXIT_INTERRUPTED
    except Exception as error:  # one clear line for the person, the trace for the curious
        complain(f"{explain(error, folder)} (logs: {folder.logs})")
        return EXIT_WRONG
    if result.problems:
        complain(f"{'; '.join(result.problems)} (logs: {folder.logs})")
        return EXIT_WRONG
    display.say("all three posts are public, exactly once, with the file's SHA-256, on time")
    display.say(how_to_go_on or "everything is stopped; go on with: make up")
    return EXIT_GOOD


def _stack(
    folder: DataFolder, display: Display, cleanup: ExitStack, *, keep: bool
) -> tuple[Endpoints, Callable[[], None], str]:
    """A running stack, how to see that it still lives, and how to go on (empty: it is stopped)."""
    running = running_endpoints(folder)
    if running is not None:
        display.say(f"using the stack that runs in {folder.path}")
        return running, lambda: None, f"the stack stays up: {running.dagster}"
    if keep:
        return _detached(folder, display)
    options = StackOptions(data_dir=folder.path)
    stack = Stack(options, display.say, os.environ.copy())
    cleanup.enter_context(stack.supervisor.signals())
    cleanup.callback(stack.stop)
    endpoints = stack.start()
    display.say(f"Dagster: {endpoints.dagster}   sandbox: {endpoints.sandbox}")
    return endpoints, stack.supervisor.check, ""


def _detached(folder: DataFolder, display: Display) -> tuple[Endpoints, Callable[[], None], str]:
    """Start `up` as a program of its own that outlives this one."""
    folder.path.mkdir(parents=True, exist_ok=True)
    log = folder.path / "up.log"
    arguments = ["up", "--data-dir", str(folder.path), "--port", "0"]
    arguments += ["--dagster-port", "0", "--sandbox-port", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own program, no shell
            [sys.executable, "-m", "minitik_dagster.local", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    shown = 0
    deadline = time.monotonic() + _DETACHED_TIMEOUT_SECONDS
    while True:
        lines = log.read_text(errors="replace").splitlines()
        for line in lines[shown:]:
            display.say(line)
        shown = len(lines)
        endpoints = running_endpoints(folder)
        if endpoints is not None:
            break
        if process.poll() is not None:
            raise LocalStackError(lines[-1] if lines else "the stack did not start")
        if time.monotonic() > deadline:
            process.terminate()
            raise NotReadyError("the stack", _DETACHED_TIMEOUT_SECONDS, log)
        time.sleep(0.2)

    def check() -> None:
        if process.poll() is not None:
            raise PartDiedError("the stack", process.returncode, log)

    return endpoints, check, f"the stack stays up: {endpoints.dagster}; stop it: kill {process.pid}"


def _report(result: JourneyResult, display: Display, *, as_json: bool) -> None:
    if not as_json:
        display.result(result.rows, ZONE)
        return
    document = {
        "ok": not result.problems,
        "problems": result.problems,
        "contentId": result.content_id,
        "sha256": result.sha256,
        "dueAt": iso_z(result.due),
        "posts": [
            {
                "platform": row.platform,
                "stage": row.stage,
                "platformPostId": row.post_id,
                "dueAt": iso_z(row.due),
                "publishedAt": iso_z(row.published) if row.published else None,
                "latenessMs": row.late_ms,
            }
            for row in result.rows
        ],
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.stdout.flush()

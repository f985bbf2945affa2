"""`minitik up` as a person starts it: a program of its own, in a folder with a space in its name."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from minitik_dagster.local.process import GUARD
from minitik_dagster.settings import Settings

START_SECONDS = 90.0


def clean_environment() -> dict[str, str]:
    """The desk's environment without anything that configures a stack."""
    names = {name.upper() for name in Settings.model_fields} | {"AWS_EC2_METADATA_DISABLED"}
    return {key: value for key, value in os.environ.items() if key not in names}


def minitik(*arguments: str) -> list[str]:
    """The command line of a local command."""
    return [sys.executable, "-m", "minitik_dagster.local", *arguments]


def up_arguments(folder: Path, **ports: int) -> list[str]:
    """`up` on free ports, but for those that are named (`port`, `dagster_port`, `sandbox_port`)."""
    chosen = {"port": 0, "dagster_port": 0, "sandbox_port": 0} | ports
    options = [part for k, v in chosen.items() for part in (f"--{k.replace('_', '-')}", str(v))]
    return minitik("up", "--data-dir", str(folder), *options)


@dataclass
class RunningStack:
    """A stack that is up."""

    process: subprocess.Popen[str]
    folder: Path
    endpoints: dict[str, Any]
    seconds_to_start: float

    def family(self) -> list[psutil.Process]:
        """Every process below the supervisor now."""
        return psutil.Process(self.process.pid).children(recursive=True)


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie whose new parent has not reaped it yet has ended."""
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def start_stack(folder: Path, environment: Mapping[str, str] | None = None) -> RunningStack:
    """Start `up` and wait for its endpoints.json; fails with its output when it ends before."""
    output = folder.parent / f"{folder.name}.out"
    began, began_at = time.monotonic(), time.time()
    with output.open("w") as sink:
        process = subprocess.Popen(
            up_arguments(folder),
            stdout=sink,
            stderr=sink,
            text=True,
            env=clean_environment() | dict(environment or {}),
        )
    file = folder / "endpoints.json"
    # A crash leaves its file behind: only one of this start counts.
    while not (file.exists() and file.stat().st_mtime > began_at):
        if process.poll() is not None:
            pytest.fail(f"up ended with {process.returncode}:\n{output.read_text()}")
        if time.monotonic() - began > START_SECONDS:
            process.kill()
            pytest.fail(f"up was not up after {START_SECONDS} s:\n{output.read_text()}")
        time.sleep(0.1)
    took = time.monotonic() - began
    return RunningStack(process, folder, json.loads(file.read_text()), took)


@contextmanager
def home_folder() -> Iterator[Path]:
    """A long path with a space, reachable for the user PostgreSQL runs as under root."""
    folder = Path(tempfile.mkdtemp(prefix="minitik acceptance "))
    GUARD.remove_at_end(folder)
    try:
        long = folder / ("a rather long path " * 8).strip()
        long.mkdir()
        yield long
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ended(processes: list[psutil.Process], seconds: float = 30.0) -> bool:
    """Whether all of them end in time."""
    deadline = time.monotonic() + seconds
    while living(processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def get(url: str, key: str | None = None) -> tuple[int, bytes]:
    """GET without a proxy: (status, body)."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = httpx.get(url, headers=headers, timeout=30, trust_env=False)
    return answer.status_code, answer.content

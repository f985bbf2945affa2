"""Small runs of the benchmarks that look for lost, doubled and damaged things, as an operator starts them.

The seed is drawn anew each time and stands in what the benchmark prints; a failure shows it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(name: str, *options: str) -> dict[str, Any]:
    """Run one with `--json` and return what it printed; its exit code must agree with its verdict."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), "--json", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_posts_survive_kills_and_lies() -> None:
    """24 posts while dispatchers are killed at random and the platforms lie: none lost, none doubled."""
    found = run("chaos.py", "--trials", "24", "--wave", "24")
    assert (found["lost"], found["double"], found["unsettled"]) == (0, 0, 0), found
    assert found["right"] + found["review"] == 24, found
    assert found["kills"] > 0, found


def test_posts_survive_restarts_of_postgresql_and_redis() -> None:
    """60 posts while PostgreSQL restarts and Redis comes and goes: none lost, none doubled."""
    found = run("outages.py", "--posts", "60", "--rate", "3")
    assert (found["lost"], found["double"], found["unsettled"]) == (0, 0, 0), found
    assert found["right"] + found["review"] == 60, found
    assert found["restarts"] > 0, found


def test_an_upload_survives_kills() -> None:
    """64 MiB through an uploader that is killed twice: whole, and less than three parts are sent again."""
    found = run("upload.py", "--size", str(2**26))
    assert found["sha256_stored"] == found["sha256_file"], found
    assert found["sent_again_parts"] < 3, found

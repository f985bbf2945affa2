"""How soon "publish now" reaches the platforms: with a live dispatcher, and from nothing through Dagster.

    python benchmarks/publish_now.py [--posts 20] [--rounds 6] [--busy 0] [--json]

A whole `minitik up` runs in a temporary folder. Live: `minitik dispatcher` beside it, `--posts` requests one
after another. From nothing: no dispatcher lives, the sensor has to see the post and a Dagster run has to
start; `--rounds` times, the run's dispatcher ended each time (SIGTERM) rather than waited for, and the request
sent at a random moment of the sensor's 5 s. `--busy` processes compute beside, for a busy machine. Time is
taken from the moment the request is sent to the first call of that account in the sandbox's own log.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from servers import machine
from sqlalchemy import text

from minitik_dagster.db.types import Platform
from minitik_dagster.local.data_folder import DataFolder
from minitik_dagster.local.endpoints import (
    Endpoints,
    environment_beside,
    read_endpoints,
    running_endpoints,
)
from minitik_dagster.local.process import GUARD, ChildProcess
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.settings import Settings

# The ended run's process goes away meanwhile; then a random moment of the sensor's interval.
_REST_SECONDS, _SENSOR_LOOKS_EVERY_SECONDS = 6, 5
_PLATFORMS = (Platform.TIKTOK, Platform.INSTAGRAM, Platform.YOUTUBE)


@dataclass
class Town:
    """A stack that is up, and what posts through its API."""

    folder: DataFolder
    endpoints: Endpoints
    bench: Workbench
    api: httpx.Client

    def publish_now(self, platform: Platform) -> tuple[float, float]:
        """Publish on a new account; return the seconds to the API's answer and to the first call."""
        account_id = self.bench.add_account(platform)
        video = self.bench.add_video(300_000)
        with self.bench.engine.connect() as connection:
            name = connection.execute(
                text('SELECT "platformAccountId" FROM accounts WHERE id = :id'), {"id": account_id}
            ).scalar_one()
        body = {"contentId": video.content_id, "accountIds": [account_id]}
        asked = time.time()
        answer = self.api.post("/api/publishing", json=body)
        answered = time.time() - asked
        assert answer.status_code == 202, answer.text
        first: list[float] = []

        def seen() -> bool:
            first[:] = [
                call["at"] / 1000
                for call in self.bench.sandbox.calls()
                if call["account"] == name and call["at"] / 1000 >= asked
            ]
            return bool(first)

        wait_until(seen, 90)
        return answered, min(first) - asked

    def live_dispatchers(self) -> list[int]:
        """Process ids of dispatchers that have not ended."""
        with self.bench.engine.connect() as connection:
            found = connection.execute(text('SELECT pid FROM dispatchers WHERE "endedAt" IS NULL'))
            return list(found.scalars())

    def settle(self) -> None:
        """Wait until no post needs a dispatcher soon: one would be started for it."""
        busy = text(
            """SELECT 1 FROM publications WHERE stage NOT IN ('live', 'failed') OR "nextAttemptAt" <
            (statement_timestamp() AT TIME ZONE 'UTC') + interval '10 minutes'"""
        )

        def idle() -> bool:
            with self.bench.engine.connect() as connection:
                return connection.execute(busy).first() is None

        wait_until(idle, 120)

    def end_dispatchers(self) -> None:
        """Let those that live drain, and wait for their end."""
        for pid in self.live_dispatchers():
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not self.live_dispatchers(), 60)


def wait_until(seen: Callable[[], object], seconds: float) -> None:
    """Ask often; TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not seen():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


@contextmanager
def town() -> Iterator[Town]:
    """Start `minitik up` in a temporary folder; the keys of the demo user post through its API."""
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    home = Path(tempfile.mkdtemp(prefix="minitik-bench-"))
    GUARD.remove_at_end(home)
    folder = DataFolder(home / "data")
    ports = ["--port", "0", "--dagster-port", "0", "--sandbox-port", "0"]
    with (home / "up.log").open("w") as output:
        up = subprocess.Popen(
            [
                *(sys.executable, "-m", "minitik_dagster.local", "up"),
                *("--data-dir", str(folder.path), *ports),
            ],
            stdout=output,
            stderr=output,
            # The look after 5 minutes would start a dispatcher of its own.
            env={**os.environ, "MINITIK_LIVE_CHECKS": "86400"},
        )
    try:
        wait_until(lambda: running_endpoints(folder) or up.poll() is not None, 120)
        endpoints = read_endpoints(folder.endpoints_file)
        assert endpoints is not None, (home / "up.log").read_text()
        os.environ.update(
            environment_beside(folder)
            | {"MINITIK_HOME": str(folder.path), "MINITIK_LIVE_CHECKS": "86400"}
        )
        sandbox = SandboxServer(home / "unused", port=urlsplit(endpoints.sandbox).port or 0)
        # Quick processing, so that a round's post is over before the next one.
        sandbox.set_limits(
            tiktok={"processingMs": 300, "moderationMs": 300},
            instagram={"processingMs": 300},
            youtube={"processingMs": 300},
        )
        bench = Workbench(Settings(), sandbox)
        with bench.engine.begin() as connection:
            user = connection.execute(text("SELECT id FROM users WHERE name = 'Demo creator'"))
            bench.user_id = user.scalar_one()
        with httpx.Client(
            base_url=endpoints.api,
            headers={"Authorization": f"Bearer {endpoints.apiKey}"},
            timeout=30,
            trust_env=False,
        ) as api:
            yield Town(folder, endpoints, bench, api)
        bench.close()
    finally:
        up.terminate()
        up.wait(timeout=90)
        shutil.rmtree(home, ignore_errors=True)


def with_a_live_dispatcher(base: Town, posts: int) -> dict[str, Any]:
    """Measure `posts` requests beside a resident dispatcher."""
    log = base.folder.path / "dispatcher.log"
    dispatcher = ChildProcess(
        "dispatcher",
        [str(Path(sys.executable).with_name("minitik")), "dispatcher"],
        log=log,
        env=dict(os.environ),
        grace_seconds=60,
    )
    dispatcher.start()
    try:
        dispatcher.wait_until(lambda: "dispatcher ready" in log.read_text(), timeout_seconds=60)
        load = os.getloadavg()[0]
        taken = [base.publish_now(_PLATFORMS[number % 3]) for number in range(posts)]
        base.settle()
    finally:
        dispatcher.stop()
    return figures(taken, load)


def from_nothing(base: Town) -> dict[str, Any]:
    """Measure one request with no dispatcher alive and a sensor at rest."""
    base.settle()
    base.end_dispatchers()
    time.sleep(_REST_SECONDS + random.uniform(0, _SENSOR_LOOKS_EVERY_SECONDS))
    assert not base.live_dispatchers(), "a dispatcher was started for something else"
    load = os.getloadavg()[0]
    return figures([base.publish_now(Platform.YOUTUBE)], load)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Let so many processes compute meanwhile."""
    burners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def figures(taken: list[tuple[float, float]], load: float) -> dict[str, Any]:
    """Median and worst of the times, in seconds, with the load before."""
    answers, calls = zip(*taken, strict=True)
    return {
        "posts": len(taken),
        "load": round(load, 2),
        "answer_p50_s": round(statistics.median(answers), 3),
        "first_call_p50_s": round(statistics.median(calls), 3),
        "first_call_max_s": round(max(calls), 3),
    }


def main() -> None:
    """Measure both, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []

    def tell(what: str, figure: dict[str, Any]) -> None:
        found.append({"what": what, **figure})
        if not options.json:
            print(
                f"{what:18} posts {figure['posts']:3}  load {figure['load']:5.2f}  "
                f"answer p50 {figure['answer_p50_s']:.3f} s  first call p50 "
                f"{figure['first_call_p50_s']:.3f} s  max {figure['first_call_max_s']:.3f} s",
                flush=True,
            )

    if not options.json:
        print(f"machine: {machine()}, {options.busy} processes compute beside", flush=True)
    with town() as base, busy(options.busy):
        if options.posts:
            tell("a live dispatcher", with_a_live_dispatcher(base, options.posts))
        for _ in range(options.rounds):
            tell("from nothing", from_nothing(base))
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Parts of a whole stack die in mid-flight: nothing is lost, nothing is late, and each comes back by itself.

One stack for all of them, as on a real game day; docs/failures.md has a row for each test. What is asked of
PostgreSQL, Redis, MongoDB, S3 and the platforms is in tests/publishing/test_outages.py.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from sqlalchemy import text

from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import Platform
from minitik_dagster.local import probes
from minitik_dagster.local.data_folder import DataFolder
from minitik_dagster.local.endpoints import environment_beside
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.local.workbench import Video, Workbench
from minitik_dagster.settings import Settings
from tests.publishing.kill_harness import QUICK_PLATFORMS, Dispatcher

from .stack import RunningStack, get, home_folder, living, start_stack

pytestmark = [
    pytest.mark.gameday,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("gameday"),  # one worker, one stack
]
ALL = tuple(Platform)
DAEMON, CODE_SERVER, WEBSERVER, API = (
    "dagster._daemon",
    "dagster api grpc",
    "minitik_dagster.webserver.app",
    "minitik_dagster.api.app",
)


@dataclass
class Day:
    """A stack that is up, and a workbench on its servers."""

    stack: RunningStack
    bench: Workbench
    environment: dict[str, str]
    output: Path

    def part(self, words: str) -> psutil.Process | None:
        """The part whose command line holds the words, while it lives."""
        for process in living(psutil.Process(self.stack.process.pid).children()):
            try:
                if words in " ".join(process.cmdline()):
                    return process
            except psutil.NoSuchProcess:
                continue
        return None

    def kill(self, words: str) -> psutil.Process:
        """`kill -9` of that part alone, not of its children."""
        victim = self.part(words)
        assert victim is not None, words
        victim.kill()
        victim.wait(timeout=20)
        return victim

    def keep_down(self, words: str) -> None:
        """Kill it again should it have come back."""
        victim = self.part(words)
        if victim is not None:
            victim.kill()

    def dagster(self) -> dict[str, Any] | None:
        port = urlsplit(self.stack.endpoints["dagster"]).port
        assert port is not None
        return probes.dagster_state(port)

    def post(self, seconds: float) -> tuple[Video, list[str]]:
        """Schedule a small video on all platforms, due in so many seconds."""
        accounts = [(self.bench.add_account(platform), platform) for platform in ALL]
        video = self.bench.add_video()
        due_at = self.bench.now() + timedelta(seconds=seconds)
        return video, self.bench.schedule(video, accounts, due_at)

    def rows(self, sql: str) -> list[Any]:
        with self.bench.engine.connect() as connection:
            return list(connection.execute(text(sql)))

    def assert_all_goes_on(self) -> None:
        """No dispatcher lives: Dagster starts one for a post that is due, and it goes out, once."""
        self.end_dispatchers()
        video, ids = self.post(0)
        wait_for_stage(self, ids, "live")
        assert_public_once(self, video)
        [kind, run_id] = self.rows(
            'SELECT kind, "runId" FROM dispatchers ORDER BY "startedAt" DESC LIMIT 1'
        )[0]
        assert kind == "dagster"
        assert run_id

    def end_dispatchers(self) -> None:
        """Let Dagster's dispatchers drain, as a deployment does (SIGTERM)."""
        for (pid,) in self.rows('SELECT pid FROM dispatchers WHERE "endedAt" IS NULL'):
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGTERM)
        wait_until(
            lambda: not self.rows('SELECT 1 FROM dispatchers WHERE "endedAt" IS NULL'),
            "the dispatchers' end",
        )

    def said(self, part: str) -> list[str]:
        """The stack's lines about the death of a part."""
        lines = self.output.read_text().splitlines()
        return [line for line in lines if line.startswith(f"{part} died (killed by signal 9)")]


@pytest.fixture(scope="module")
def day() -> Iterator[Day]:
    with home_folder() as home, pytest.MonkeyPatch.context() as patch:
        stack = start_stack(home / "data")
        try:
            environment = environment_beside(DataFolder(home / "data"))
            environment |= {"MINITIK_HOME": str(home / "data")}
            for name, value in environment.items():
                patch.setenv(name, value)
            port = urlsplit(stack.endpoints["sandbox"]).port
            assert port is not None
            sandbox = SandboxServer(home / "unused", port=port)
            sandbox.set_limits(**QUICK_PLATFORMS)
            bench = Workbench(Settings(), sandbox)
            yield Day(stack, bench, environment, home / "data.out")
            bench.close()
            family = stack.family()
            stack.process.send_signal(signal.SIGTERM)
            assert stack.process.wait(timeout=60) == 0
            assert living(family) == []
        finally:
            stack.process.kill()
            stack.process.wait()


def wait_until(seen: Callable[[], object], what: str, *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, f"{what} was not seen"
        time.sleep(0.1)


def wait_for_stage(
    day: Day,
    ids: list[str],
    stage: str,
    *,
    meanwhile: Callable[[], None] = lambda: None,
) -> list[Publication]:
    found: list[Publication] = []

    def seen() -> bool:
        meanwhile()
        found[:] = day.bench.rows(ids)
        return all(row.stage == stage for row in found)

    wait_until(seen, f"{stage} of {ids}", seconds=90)
    return found


def assert_on_time(rows: list[Publication]) -> None:
    """Each commit was sent within a second of its instant, and none before it."""
    for row in rows:
        assert row.committed_at is not None
        assert row.due_at is not None
        assert timedelta(0) <= row.committed_at - row.due_at < timedelta(seconds=5)


def assert_public_once(day: Day, video: Video) -> None:
    platforms = sorted(post["platform"] for post in day.bench.public_posts(video))
    assert platforms == ["instagram", "tiktok", "youtube"]


def test_while_the_daemon_is_dead_a_resident_dispatcher_carries_on(
    day: Day, tmp_path: Path
) -> None:
    """Due meanwhile, out on time without Dagster; after the daemon's return runs start as before."""
    with Dispatcher(day.environment, tmp_path / "resident.log"):
        day.kill(DAEMON)
        video, ids = day.post(5)
        rows = wait_for_stage(day, ids, "live", meanwhile=lambda: day.keep_down(DAEMON))
        assert_on_time(rows)
        assert_public_once(day, video)
        assert day.rows("SELECT kind FROM dispatchers") == [("resident",)]
    returned = time.time()
    wait_until(
        lambda: probes.daemons_beat_since(day.dagster(), returned),
        "the daemon's heartbeat",
        seconds=90,
    )
    assert day.said("dagster-daemon")
    day.assert_all_goes_on()


def test_a_dead_code_server_takes_no_run_with_it(day: Day) -> None:
    """The dispatcher it had started keeps its instants; the next run is started by its next life."""
    day.assert_all_goes_on()
    video, ids = day.post(8)
    wait_for_stage(day, ids, "prepared")
    dispatchers = day.rows('SELECT id FROM dispatchers WHERE "endedAt" IS NULL')
    victim = day.kill(CODE_SERVER)
    rows = wait_for_stage(day, ids, "live")
    assert_on_time(rows)
    assert_public_once(day, video)
    assert day.rows('SELECT id FROM dispatchers WHERE "endedAt" IS NULL') == dispatchers
    wait_until(lambda: day.part(CODE_SERVER), "the code server's return")
    again = day.part(CODE_SERVER)
    assert again is not None
    assert again.pid != victim.pid
    assert day.said("code-server")
    day.assert_all_goes_on()


def test_a_dead_webserver_costs_the_view_only(day: Day) -> None:
    """Posts go out, runs are started, and the same address shows them again."""
    others = {words: day.part(words) for words in (DAEMON, CODE_SERVER, API)}
    day.kill(WEBSERVER)
    day.assert_all_goes_on()
    wait_until(lambda: probes.location_is_loaded(day.dagster()), "the web UI's return")
    assert {words: day.part(words) for words in others} == others
    assert len(day.said("dagster-webserver")) == 1


def test_a_dead_api_stops_no_post(day: Day) -> None:
    """What was scheduled goes out; the API answers again at the same address, with the same keys."""
    video, ids = day.post(5)
    day.kill(API)
    wait_for_stage(day, ids, "live")
    assert_public_once(day, video)
    endpoints = day.stack.endpoints

    def answers() -> bool:
        try:
            return get(f"{endpoints['api']}/api/accounts", endpoints["apiKey"])[0] == 200
        except httpx.TransportError:
            return False

    wait_until(answers, "the API's return")


def test_a_dead_mongodb_degrades_the_readiness_and_nothing_else(day: Day) -> None:
    """Told by /readyz with what its loss means; it comes back with its port and its data."""
    url = f"{day.stack.endpoints['api']}/readyz"

    def says(status: str) -> bool:
        code, body = get(url)
        assert code == 200, body
        return str(json.loads(body)["status"]) == status

    wait_until(lambda: says("ok"), "ready")
    mongo = day.part("nx_27017")
    assert mongo is not None
    # Hanging first: once it is dead, it is started again within the second that a look waits for it.
    mongo.suspend()
    video, ids = day.post(3)
    wait_until(lambda: says("degraded"), "degraded", seconds=30)
    day.kill("nx_27017")
    wait_for_stage(day, ids, "live")
    assert_public_once(day, video)
    wait_until(lambda: says("ok"), "ready again")

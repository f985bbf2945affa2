"""The seven rows of the runbook's failure table, with real servers: what the operator sees, and the way back.

One town for all of them: five servers, a server per platform, the API with its own watch, and a dispatcher.
Each test takes one server away while posts are due, looks as an operator does (health, doctor, incident,
alerts and what is told of them), gives it back, and touches nothing else. docs/failures.md has the rows.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from sqlalchemy import text

from minitik_dagster.api import alarm, database_watch
from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import Platform
from minitik_dagster.local.process import GUARD
from minitik_dagster.local.servers.base import EmbeddedServer
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.local.workbench import Video, Workbench
from minitik_dagster.operations import database_away, servers
from minitik_dagster.operations.thresholds import set_threshold
from minitik_dagster.settings import Settings
from tests.api.server import serving
from tests.cli.running import Command
from tests.notifications.receiver import Receiver, receiving
from tests.publishing.kill_harness import LARGE
from tests.publishing.test_outages import Town, lateness, live, prepared, wait_for

pytestmark = [
    pytest.mark.gameday,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("gameday-servers"),  # one worker, one town
]
ON_TIME = timedelta(seconds=5)


@dataclass
class Day:
    """The town, the API's address, and a workbench per platform."""

    town: Town
    api: httpx.Client
    platforms: dict[Platform, SandboxServer]
    benches: dict[Platform, Workbench]
    targets: Receiver

    def post(
        self, seconds: float, platforms: tuple[Platform, ...] = tuple(Platform), size: int = LARGE
    ) -> dict[Platform, tuple[Video, list[str]]]:
        """Schedule a video per platform, all due at one instant."""
        due_at = self.any_bench.now() + timedelta(seconds=seconds)
        found = {}
        for platform in platforms:
            bench = self.benches[platform]
            video = bench.add_video(size)
            accounts = [(bench.add_account(platform), platform)]
            found[platform] = video, bench.schedule(video, accounts, due_at)
        return found

    @property
    def any_bench(self) -> Workbench:
        """One of them, where the platform does not matter."""
        return self.benches[Platform.YOUTUBE]

    def wait(
        self, posts: dict[Platform, tuple[Video, list[str]]], done: Callable[[Publication], bool]
    ) -> list[Publication]:
        """Wait until it is true of all of them."""
        ids = [publication for _, some in posts.values() for publication in some]
        return wait_for(self.any_bench, ids, done, seconds=90)

    def assert_public_once(self, posts: dict[Platform, tuple[Video, list[str]]]) -> None:
        """Each is public on its platform, once."""
        for platform, (video, _) in posts.items():
            assert len(self.benches[platform].public_posts(video)) == 1, platform

    def told(self) -> set[str]:
        """The titles of what was sent to where alerts go."""
        return {json.loads(request.body)["title"] for request in self.targets.requests}

    def forget_connections(self) -> None:
        """The workbenches' pools: PostgreSQL was away."""
        for bench in self.benches.values():
            bench.engine.dispose()


@dataclass
class Operator:
    """Looks at the town."""

    day: Day
    minitik: Command

    def ready(self) -> tuple[int, str]:
        """/readyz: its code and its status; the process is alive all the while."""
        assert self.day.api.get("/healthz").json()["status"] == "ok"
        answer = self.day.api.get("/readyz")
        return answer.status_code, str(answer.json().get("status"))

    def red(self) -> set[str]:
        """What doctor calls red."""
        return {item["check"] for item in self._checks() if item["level"] == "red"}

    def yellow(self) -> set[str]:
        """What doctor calls yellow."""
        return {item["check"] for item in self._checks() if item["level"] == "yellow"}

    def severity(self) -> str:
        """The level that the incident's snapshot proposes."""
        said = self.minitik("incident", "--json")
        return str(said.data["severity"]["level"])

    def alerts(self) -> dict[str, str]:
        """The open alerts, by key."""
        return {
            item["key"]: item["level"] for item in self.minitik("alerts", "list", "--json").data
        }

    def _checks(self) -> list[dict[str, Any]]:
        checks: list[dict[str, Any]] = self.minitik("doctor", "--json").data["checks"]
        return checks


@pytest.fixture(scope="module")
def day() -> Iterator[Day]:
    folder = Path(tempfile.mkdtemp(prefix="minitik-gameday-"))
    GUARD.remove_at_end(folder)
    with pytest.MonkeyPatch.context() as patch, receiving() as targets:
        town = Town(folder)
        patch.setattr(alarm, "LOOK_EVERY", timedelta(seconds=1))
        patch.setattr(database_watch, "ASK_EVERY", timedelta(seconds=1))
        try:
            own = {
                platform: town.give_own_server(platform, folder / platform.value)
                for platform in Platform
            }
            town.environment |= {
                "NEXTAUTH_SECRET": "x" * 40,
                "MONGODB_DB": "gameday",
                "MINITIK_ALERT_URLS": targets.url.replace("http", "json", 1),
            }
            for name, value in town.environment.items():
                patch.setenv(name, value)
            settings = Settings()
            benches = {platform: Workbench(settings, server) for platform, server in own.items()}
            _in_a_hurry(benches[Platform.YOUTUBE])
            with serving(settings) as api:
                yield Day(town, api, own, benches, targets)
            for bench in benches.values():
                bench.close()
        finally:
            town.stop()
            shutil.rmtree(folder, ignore_errors=True)


def _in_a_hurry(bench: Workbench) -> None:
    """An operator's own numbers: a game day has no minutes to wait."""
    with bench.engine.begin() as connection:
        for server in servers.SERVERS:
            set_threshold(connection, f"{server}.away", warning=1, critical=3_600, actor="game day")
        set_threshold(connection, database_away.KEY, warning=2, critical=2, actor="game day")


@pytest.fixture
def operator(
    day: Day,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Iterator[Operator]:
    """An operator who finds the town well, with a dispatcher that publishes."""
    monkeypatch.chdir(tmp_path)
    found = Operator(day, Command(monkeypatch, capsys))
    with day.town.dispatcher():
        seen(lambda: found.ready() == (200, "ok"), "a town that is well")
        assert found.red() == set()
        yield found


def seen(look: Callable[[], object], what: str, *, seconds: float = 60) -> None:
    """Wait until a look finds it."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"{what} was not seen"
        time.sleep(0.2)


def all_well_again(day: Day, operator: Operator) -> None:
    """Health and doctor say so by themselves, no alert is left, and the next posts are on time."""
    seen(lambda: operator.ready() == (200, "ok"), "ready again")
    seen(lambda: operator.red() == set(), "no red line")
    seen(lambda: not open_alerts(operator), "no open alert", seconds=90)
    posts = day.post(20)
    rows = day.wait(posts, live)
    assert max(lateness(rows)) < ON_TIME
    day.assert_public_once(posts)


def open_alerts(operator: Operator) -> set[str]:
    """What is still open; the lateness of the last hour is a fact, and stays one."""
    return set(operator.alerts()) - {"publish.late"}


@pytest.mark.parametrize(
    ("name", "check"), [("redis", "redis"), ("mongo", "mongodb"), ("s3", "s3")]
)
def test_a_store_away_over_the_instant_is_told_and_costs_no_post(
    day: Day, operator: Operator, name: str, check: str
) -> None:
    """Degraded, red with its fix, P2; what is prepared goes out on time; back by itself."""
    server: EmbeddedServer = getattr(day.town, name)
    posts = day.post(20)
    day.wait(posts, prepared)
    server.kill()
    rows = day.wait(posts, live)
    assert max(lateness(rows)) < ON_TIME
    day.assert_public_once(posts)
    seen(lambda: operator.ready() == (200, "degraded"), "degraded")
    assert check in operator.red()
    assert operator.severity() == "P2"
    key = f"{check}.away"
    seen(lambda: operator.alerts().get(key) == "warning", "the alert")
    seen(lambda: f"minitik warning: {key}" in day.told(), "its notice")
    if name == "s3":
        _twenty_minutes_pass(day, "epoch:mirrored")
        seen(lambda: "epoch.unmirrored" in operator.alerts(), "the alert of the epoch")
    server.start()
    all_well_again(day, operator)
    seen(lambda: f"minitik resolved: {key}" in day.told(), "the notice of its end")


def _twenty_minutes_pass(day: Day, key: str) -> None:
    with day.any_bench.engine.begin() as connection:
        connection.execute(
            text(
                'UPDATE settings SET "updatedAt" = "updatedAt" - interval \'20 minutes\' '
                "WHERE key = :key"
            ),
            {"key": key},
        )


def test_postgresql_away_over_the_instant_is_told_and_sends_nothing_unrecorded(
    day: Day, operator: Operator
) -> None:
    """503, red, P1, one line from each command; held posts go out, once, when it is back."""
    posts = day.post(20)
    day.wait(posts, prepared)
    day.town.postgres.kill()
    seen(lambda: operator.ready()[0] == 503, "not ready")
    assert "postgresql" in operator.red()
    assert operator.severity() == "P1"
    assert "PostgreSQL" in operator.minitik.refused("alerts", "list")
    seen(lambda: "minitik critical: postgresql.away" in day.told(), "the API's own notice")
    day.town.postgres.start()
    day.forget_connections()
    day.wait(posts, live)
    day.assert_public_once(posts)
    all_well_again(day, operator)
    [episode] = [
        one
        for one in operator.minitik("alerts", "list", "--all", "--json").data
        if one["key"] == database_away.KEY
    ]
    assert episode["level"] == "critical"
    assert episode["openedAt"] < episode["resolvedAt"]
    seen(lambda: "minitik resolved: postgresql.away" in day.told(), "the notice of its end")


@pytest.mark.parametrize("platform", Platform)
def test_a_platform_away_over_the_instant_is_told_and_delays_no_other(
    day: Day, operator: Operator, platform: Platform
) -> None:
    """Its breaker opens and is told; the others are on time; it closes by itself and all is sent."""
    name = platform.value.lower()
    others = tuple(other for other in Platform if other is not platform)
    its = [day.post(20, (platform,)) for _ in range(6)]
    posts = day.post(20, others)
    for one in (*its, posts):
        day.wait(one, prepared)
    day.platforms[platform].kill()
    rows = day.wait(posts, live)
    assert max(lateness(rows)) < ON_TIME
    day.assert_public_once(posts)
    seen(lambda: f"breaker {name}" in operator.yellow(), "the open breaker", seconds=90)
    seen(lambda: "breaker.open" in operator.alerts(), "the breaker's alert")
    seen(lambda: "minitik warning: breaker.open" in day.told(), "its notice")
    status = {
        item["platform"]: item["state"]
        for item in operator.minitik.good("breaker", "status", "--json").data
    }
    assert status[name] != "CLOSED"
    assert operator.ready()[0] == 200
    assert operator.severity() == "P2"
    day.platforms[platform].start()
    _five_minutes_pass(day, name)
    for one in its:
        day.wait(one, live)
        day.assert_public_once(one)
    all_well_again(day, operator)


def _five_minutes_pass(day: Day, platform: str) -> None:
    """The breaker's cooldown, by its own clock."""
    client: Any = redis.Redis.from_url(day.town.redis.url, decode_responses=True)
    key = f"circuit_breaker:{platform}:opened_at"
    opened = client.get(key)
    if opened is not None:
        client.set(key, int(opened) - 301_000, keepttl=True)
    client.close()

"""Servers stop and start again in mid-flight: what the failure table promises, with a real dispatcher.

Each row of docs/failures.md that concerns publishing has a test here; the servers are this module's own,
so that they can be taken away. Dagster's own parts are in tests/acceptance/test_gameday.py.
"""

import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from minitik_dagster.db.migrate import upgrade
from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import Platform
from minitik_dagster.local.ports import free_port
from minitik_dagster.local.process import GUARD
from minitik_dagster.local.servers.base import EmbeddedServer
from minitik_dagster.local.servers.mongo import MongoServer
from minitik_dagster.local.servers.postgres import PostgresServer
from minitik_dagster.local.servers.redis import RedisServer
from minitik_dagster.local.servers.s3 import S3Server
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.local.workbench import Video, Workbench
from minitik_dagster.settings import Settings
from tests.publishing.kill_harness import LARGE, QUICK_PLATFORMS, SMALL, Dispatcher

pytestmark = pytest.mark.slow
ALL = tuple(Platform)
HOSTS = {
    Platform.TIKTOK: ("TIKTOK_",),
    Platform.INSTAGRAM: ("INSTAGRAM_",),
    Platform.YOUTUBE: ("GOOGLE_", "YOUTUBE_"),
}


class Town:
    """Five servers that can be taken away, and a dispatcher among them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = PostgresServer(
            folder / "postgres", password=secrets.token_hex(8), port=free_port(), durable=True
        )
        self.redis = RedisServer(folder / "redis", port=free_port(), persist=False)
        self.s3 = S3Server(folder / "s3", port=free_port())
        self.sandbox = SandboxServer(folder / "sandbox", port=free_port())
        self.mongo = MongoServer(folder / "mongo", port=free_port())
        self.servers: list[EmbeddedServer] = [
            *(self.postgres, self.redis, self.s3, self.sandbox, self.mongo),
        ]
        for server in self.servers:
            server.start()
        self.postgres.create_database("town")
        upgrade(self.postgres.database_url("town"), world="sandbox")
        self.s3.create_bucket("town")
        self.sandbox.set_limits(**QUICK_PLATFORMS)
        self.environment = {
            "DATABASE_URL": self.postgres.database_url("town"),
            "REDIS_URL": self.redis.url,
            "AWS_ENDPOINT_URL_S3": self.s3.url,
            "AWS_S3_BUCKET": "town",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "ENCRYPTION_KEY": "ab" * 32,
            "MINITIK_HOME": str(folder / "home"),
            "MONGODB_URI": self.mongo.url,
            "MINITIK_LEASE_SECONDS": "3",
            "MINITIK_SETTLE_TIKTOK_SECONDS": "1",
            "MINITIK_SETTLE_INSTAGRAM_SECONDS": "1",
            "MINITIK_SEND_DEADLINE_SECONDS": "1",
            **self.sandbox.environment,
        }

    def dispatcher(self) -> Dispatcher:
        return Dispatcher(self.environment, self.folder / f"dispatcher-{time.monotonic_ns()}.log")

    def give_own_server(self, platform: Platform, folder: Path | None = None) -> SandboxServer:
        """Let one platform live on a server of its own, for dispatchers that start from now on."""
        server = SandboxServer(folder or self.folder / "alone", port=free_port())
        server.start()
        self.servers.append(server)
        server.set_limits(**QUICK_PLATFORMS)
        self.environment |= {
            name: value
            for name, value in server.environment.items()
            if name.startswith(HOSTS[platform]) and name.endswith("_BASE_URL")
        }
        return server

    def stop(self) -> None:
        for server in reversed(self.servers):
            server.stop()


@pytest.fixture
def town(monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    folder = Path(tempfile.mkdtemp(prefix="minitik-town-"))
    GUARD.remove_at_end(folder)
    made = Town(folder)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bench(town: Town) -> Iterator[Workbench]:
    made = Workbench(Settings(), town.sandbox)
    yield made
    made.close()


def post_everywhere(bench: Workbench, seconds: float, size: int = LARGE) -> tuple[Video, list[str]]:
    accounts = [(bench.add_account(platform), platform) for platform in ALL]
    video = bench.add_video(size)
    return video, bench.schedule(video, accounts, bench.now() + timedelta(seconds=seconds))


def wait_for(
    bench: Workbench, ids: list[str], done: Callable[[Publication], bool], *, seconds: float = 60
) -> list[Publication]:
    deadline = time.monotonic() + seconds
    while True:
        rows = bench.rows(ids)
        if all(done(row) for row in rows):
            return rows
        stages = [(row.platform.value, row.stage, row.error_code) for row in rows]
        assert time.monotonic() < deadline, stages
        time.sleep(0.1)


def prepared(row: Publication) -> bool:
    return row.stage == "prepared"


def live(row: Publication) -> bool:
    return row.stage == "live"


def lateness(rows: list[Publication]) -> list[timedelta]:
    return [row.committed_at - row.due_at for row in rows if row.committed_at and row.due_at]


def assert_public_once(bench: Workbench, video: Video) -> None:
    platforms = sorted(post["platform"] for post in bench.public_posts(video))
    assert platforms == ["instagram", "tiktok", "youtube"]


def test_redis_down_costs_nothing_but_its_breaker(town: Town, bench: Workbench) -> None:
    """Stopped while posts are held: all go out at their instant, and the log says it once."""
    with town.dispatcher() as dispatcher:
        video, ids = post_everywhere(bench, 8)
        wait_for(bench, ids, prepared)
        town.redis.stop()
        rows = wait_for(bench, ids, live)
        assert max(lateness(rows)) < timedelta(seconds=5)
        assert_public_once(bench, video)
        later, more = post_everywhere(bench, 4, SMALL)
        wait_for(bench, more, live)
        assert_public_once(bench, later)
        said = [line for line in dispatcher.words().splitlines() if '"redis.down"' in line]
        assert len(said) <= 2, "a line per outage and user, not per call"
        town.redis.start()
        last, rest = post_everywhere(bench, 3, SMALL)
        wait_for(bench, rest, live)
        assert_public_once(bench, last)


def test_mongodb_down_costs_publishing_nothing(town: Town, bench: Workbench) -> None:
    """Stopped while posts are held, and started again: on time meanwhile, on time afterwards."""
    with town.dispatcher() as dispatcher:
        video, ids = post_everywhere(bench, 6)
        wait_for(bench, ids, prepared)
        town.mongo.kill()
        rows = wait_for(bench, ids, live)
        assert max(lateness(rows)) < timedelta(seconds=5)
        assert_public_once(bench, video)
        town.mongo.start()
        later, more = post_everywhere(bench, 3, SMALL)
        wait_for(bench, more, live)
        assert_public_once(bench, later)
        assert "mongo" not in dispatcher.words().lower()


def test_s3_down_after_preparation_delays_no_post(town: Town, bench: Workbench) -> None:
    """What is prepared commits without S3: TikTok's last chunk lies in the spool."""
    with town.dispatcher():
        video, ids = post_everywhere(bench, 8)
        wait_for(bench, ids, prepared)
        town.s3.stop()
        rows = wait_for(bench, ids, live)
        assert max(lateness(rows)) < timedelta(seconds=5)
        assert_public_once(bench, video)


def test_s3_down_before_preparation_is_waited_for(town: Town, bench: Workbench) -> None:
    """Preparing fails and is repeated; the posts go out, late, when S3 is back."""
    video, ids = post_everywhere(bench, 3)
    town.s3.stop()
    with town.dispatcher():
        wait_for(bench, ids, lambda row: (row.attempts or 0) > 0)
        assert bench.public_posts(video) == []
        town.s3.start()
        wait_for(bench, ids, live)
    assert_public_once(bench, video)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_postgresql_down_over_the_instant_sends_nothing_unrecorded(
    town: Town, bench: Workbench, how: str
) -> None:
    """Held posts wait until the ledger can be written, then go, once; no hand is needed."""
    with town.dispatcher():
        video, ids = post_everywhere(bench, 6)
        wait_for(bench, ids, prepared)
        getattr(town.postgres, how)()
        gone = time.monotonic()
        while time.monotonic() - gone < 7:
            assert bench.public_posts(video) == []
            time.sleep(0.2)
        town.postgres.start()
        bench.engine.dispose()
        wait_for(bench, ids, live)
    assert_public_once(bench, video)


def test_postgresql_restarts_while_files_are_uploaded(town: Town, bench: Workbench) -> None:
    """Every step that was cut is found again in the ledger."""
    with town.dispatcher():
        video, ids = post_everywhere(bench, 5)
        for _ in range(3):
            time.sleep(0.7)
            town.postgres.kill()
            town.postgres.start()
            bench.engine.dispose()
        wait_for(bench, ids, live, seconds=90)
    assert_public_once(bench, video)


def test_the_platforms_down_over_the_instant_cost_attempts_and_no_post(
    town: Town, bench: Workbench
) -> None:
    """Connections refused: nothing was sent, so it is repeated; live when they are back."""
    with town.dispatcher():
        video, ids = post_everywhere(bench, 6)
        wait_for(bench, ids, prepared)
        town.sandbox.stop()
        wait_for(bench, ids, lambda row: (row.attempts or 0) > 0)
        town.sandbox.start()
        wait_for(bench, ids, live, seconds=90)
    assert_public_once(bench, video)


@pytest.mark.parametrize("platform", ALL)
def test_one_platform_down_over_the_instant_delays_no_other(
    town: Town, bench: Workbench, platform: Platform
) -> None:
    """Two go out at their instant; the third when its server is back, and each once."""
    alone = town.give_own_server(platform)
    its_bench = Workbench(bench.settings, alone)
    others = [other for other in ALL if other is not platform]
    with town.dispatcher():
        video, its_video = bench.add_video(LARGE), its_bench.add_video(LARGE)
        accounts = [(bench.add_account(other), other) for other in others]
        its_account = [(its_bench.add_account(platform), platform)]
        due_at = bench.now() + timedelta(seconds=6)
        ids = bench.schedule(video, accounts, due_at)
        its_ids = its_bench.schedule(its_video, its_account, due_at)
        wait_for(bench, ids + its_ids, prepared)
        alone.stop()
        rows = wait_for(bench, ids, live)
        assert max(lateness(rows)) < timedelta(seconds=5)
        wait_for(bench, its_ids, lambda row: (row.attempts or 0) > 0)
        alone.start()
        wait_for(bench, its_ids, live, seconds=90)
    assert sorted(post["platform"] for post in bench.public_posts(video)) == sorted(
        other.value.lower() for other in others
    )
    [post] = its_bench.public_posts(its_video)
    assert post["platform"] == platform.value.lower()
    its_bench.close()


def test_a_handle_given_while_postgresql_restarts_is_kept(town: Town, bench: Workbench) -> None:
    """The platform's answer waits for the database: no second upload session is started (R1: at most 3)."""
    town.environment["MINITIK_LEASE_SECONDS"] = "60"
    account_id = bench.add_account(Platform.YOUTUBE)
    video = bench.add_video(SMALL)
    town.sandbox.add_fault(
        platform="youtube", operation="session", kind="delay", count=1, delayMs=1500
    )

    def sessions() -> int:
        return sum(call["operation"] == "session" for call in town.sandbox.calls())

    with town.dispatcher():
        due_at = bench.now() + timedelta(seconds=3)
        ids = bench.schedule(video, [(account_id, Platform.YOUTUBE)], due_at)
        deadline = time.monotonic() + 30
        while sessions() == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        town.postgres.kill()
        down = time.monotonic()
        while time.monotonic() - down < 3:
            assert sessions() == 1
            time.sleep(0.1)
        town.postgres.start()
        bench.engine.dispose()
        wait_for(bench, ids, live)
    assert sessions() == 1
    assert [post["platform"] for post in bench.public_posts(video)] == ["youtube"]

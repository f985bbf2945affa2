"""`/healthz`, `/readyz` and the platforms' breakers."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

import httpx
import pytest
import redis
from fastapi.testclient import TestClient
from pydantic import SecretStr

from minitik_dagster.api.app import create_app
from minitik_dagster.db.types import Platform
from minitik_dagster.local.ports import free_port
from minitik_dagster.publishing.pauses import Scope, pause
from minitik_dagster.resilience.limiter import Limiter
from minitik_dagster.resilience.limits_table import LIMITS
from minitik_dagster.settings import LimitName, Settings
from tests.api.conftest import ADMIN_EMAIL
from tests.api.scene import Person, Scene


def _client(settings: Settings) -> TestClient:
    return TestClient(create_app(settings), base_url="http://127.0.0.1")


@pytest.fixture
def whole(
    database_url: str, redis_url: str, mongodb_uri: str, s3_endpoint: str, s3_bucket: str
) -> Settings:
    """An environment with all four servers."""
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        mongodb_uri=SecretStr(mongodb_uri),
        aws_endpoint_url_s3=s3_endpoint,
        aws_s3_bucket=s3_bucket,
        admin_emails=frozenset({ADMIN_EMAIL}),
    )


@pytest.fixture
def dead() -> str:
    """The address of a server that is not there."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def sandboxed(whole: Settings) -> Settings:
    """Its platform hosts are a sandbox's, as the database is stamped."""
    hosts = [name for name in Settings.model_fields if name.endswith("_base_url")]
    loopback = {name: "http://127.0.0.1:9" for name in hosts if not name.startswith("media")}
    return whole.model_copy(update=loopback)


def _beat(scene: Scene, seconds_ago: int = 1) -> None:
    """A resident dispatcher's last beat."""
    scene.run(
        'INSERT INTO dispatchers (id, kind, instance, host, pid, "startedAt", "heartbeatAt") SELECT '
        "'d', 'resident', 'i', 'h', 1, n, n FROM (SELECT (now() AT TIME ZONE 'UTC') - "
        "make_interval(secs => :ago) AS n) t ON CONFLICT (id) DO UPDATE "
        'SET "heartbeatAt" = EXCLUDED."heartbeatAt"',
        ago=seconds_ago,
    )


def _publishing(client: TestClient, admin: Person) -> tuple[str, dict[str, tuple[str, list[str]]]]:
    """The status, and per platform whether it can be published to, with the codes of the reasons."""
    told = client.get("/readyz", headers=admin.headers).json()
    return told["status"], {
        one["platform"]: (one["canPublish"], [reason["code"] for reason in one["reasons"]])
        for one in told["publishing"]
    }


def test_with_all_servers_and_a_dispatcher_there_it_is_ready(
    sandboxed: Settings, scene: Scene, admin: Person
) -> None:
    _beat(scene)
    with _client(sandboxed) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        checks = client.get("/readyz", headers=admin.headers).json()["checks"]
        assert {check["name"]: check["ok"] for check in checks} == dict.fromkeys(
            ("postgresql", "redis", "mongodb", "s3", "dispatcher"), True
        )
        assert _publishing(client, admin)[1] == dict.fromkeys(
            ("TIKTOK", "INSTAGRAM", "YOUTUBE"), ("yes", [])
        )


def test_whether_a_post_would_go_out_now_is_told_per_platform_with_the_reason(
    sandboxed: Settings, scene: Scene, admin: Person, redis_url: str
) -> None:
    """A breaker and a used budget are one platform's, a pause is no fault, and none of them loses a post."""
    _beat(scene)
    with _client(sandboxed) as client, redis.Redis.from_url(redis_url) as server:
        server.set("circuit_breaker:tiktok:state", "OPEN", ex=360)
        server.set("circuit_breaker:tiktok:opened_at", "1764000000000", ex=360)
        budgeted = sandboxed.model_copy(update={"minitik_limits": {"youtube.uploads": 1}})
        limiter = Limiter(redis_url)

        async def take() -> None:
            await limiter.reserve(Platform.YOUTUBE, "a", "session")
            await limiter.aclose()

        asyncio.run(take())
        with _client(budgeted) as other:
            status, found = _publishing(other, admin)
            told = other.get("/readyz", headers=admin.headers).json()["publishing"]
        assert status == "degraded"
        assert found == {
            "TIKTOK": ("later", ["breaker"]),
            "INSTAGRAM": ("yes", []),
            "YOUTUBE": ("later", ["budget"]),
        }
        assert told[0]["reasons"][0]["detail"].endswith(
            "one post tries it at 2025-11-24T16:05:00.000Z"
        )
        server.flushall()
        with scene.engine.begin() as connection:
            pause(connection, Scope(Platform.INSTAGRAM), reason="maintenance", actor="ops")
        status, found = _publishing(client, admin)
        assert (status, found["INSTAGRAM"]) == ("ok", ("later", ["paused"]))
        assert found["TIKTOK"] == ("yes", [])


def test_without_a_dispatcher_and_with_a_silent_dagster_nothing_would_go_out(
    sandboxed: Settings, scene: Scene, admin: Person
) -> None:
    """One of the two is enough; a dead daemon alone is told with what its loss means."""
    with _client(sandboxed) as client:
        assert _publishing(client, admin)[1]["TIKTOK"] == ("no", ["no_dispatcher"])
        scene.run("INSERT INTO settings VALUES ('alerts:sensor', 'true', now() AT TIME ZONE 'UTC')")
        assert _publishing(client, admin) == (
            "ok",
            dict.fromkeys(("TIKTOK", "INSTAGRAM", "YOUTUBE"), ("yes", [])),
        )
        scene.run(
            'UPDATE settings SET "updatedAt" = "updatedAt" - interval \'3 minutes\' '
            "WHERE key = 'alerts:sensor'"
        )
        assert _publishing(client, admin)[1]["TIKTOK"] == ("no", ["no_dispatcher"])
        _beat(scene)
        status, found = _publishing(client, admin)
        assert (status, found["TIKTOK"]) == ("degraded", ("yes", []))
        checks = client.get("/readyz", headers=admin.headers).json()["checks"]
        [dagster] = [check for check in checks if check["name"] == "dagster"]
        assert (dagster["ok"], "resident dispatcher publishes" in dagster["loss"]) == (False, True)


def test_a_platforms_hosts_that_do_not_match_the_databases_stamp_publish_nothing(
    whole: Settings, scene: Scene, admin: Person
) -> None:
    _beat(scene)
    with _client(whole) as client:
        assert _publishing(client, admin)[1]["YOUTUBE"] == ("no", ["world"])


def test_losing_redis_mongodb_or_s3_only_degrades_and_says_what_is_lost(
    whole: Settings, admin: Person, person: Person, dead: str
) -> None:
    """Still 200; details are for admins, and hold no password."""
    without = whole.model_copy(
        update={
            "redis_url": SecretStr(f"redis://:hunter2@{dead}"),
            "mongodb_uri": SecretStr(f"mongodb://u:hunter2@{dead}"),
            "aws_endpoint_url_s3": f"http://{dead}",
        }
    )
    with _client(without) as client:
        assert client.get("/readyz").json() == {"status": "degraded"}
        assert client.get("/readyz", headers=person.headers).json() == {"status": "degraded"}
        answer = client.get("/readyz", headers=admin.headers)
    assert answer.status_code == 200
    checks = {check["name"]: check for check in answer.json()["checks"]}
    lost = {name: check for name, check in checks.items() if not check["ok"]}
    assert set(lost) == {"redis", "mongodb", "s3", "dispatcher"}
    assert all(check["loss"] for check in lost.values())
    reasons = {one["code"] for one in answer.json()["publishing"][0]["reasons"]}
    assert "s3" in reasons, "what is not prepared waits"
    assert "hunter2" not in answer.text


def test_a_postgresql_that_does_not_answer_is_503(whole: Settings, dead: str) -> None:
    url = SecretStr(f"postgresql://u:hunter2@{dead}/none")
    with _client(whole.model_copy(update={"database_url": url})) as client:
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["dependency"] == "postgresql"
    assert "hunter2" not in answer.text


def test_another_schema_version_is_503_and_names_the_command(
    whole: Settings, empty_database_url: str
) -> None:
    url = SecretStr(empty_database_url)
    with _client(whole.model_copy(update={"database_url": url})) as client:
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "minitik db upgrade" in answer.json()["detail"]


def test_breakers_are_shown_as_redis_has_them_and_reset_by_an_admin(
    api: httpx.Client, person: Person, admin: Person, redis_url: str
) -> None:
    client = redis.Redis.from_url(redis_url)
    client.set("circuit_breaker:tiktok:state", "OPEN", ex=360)
    client.set("circuit_breaker:tiktok:failures", "5", ex=60)
    client.set("circuit_breaker:tiktok:opened_at", "1764000000000", ex=360)
    told = api.get("/api/platforms/circuit-breakers", headers=person.headers).json()
    assert told["circuitBreakers"][0] == {
        "platform": "TIKTOK",
        "state": "OPEN",
        "failures": 5,
        "openedAt": "2025-11-24T16:00:00.000Z",
    }
    health = api.get("/api/platforms/health", headers=person.headers).json()["health"]
    assert {item["platform"]: item["status"] for item in health} == {
        "TIKTOK": "unhealthy",
        "INSTAGRAM": "healthy",
        "YOUTUBE": "healthy",
    }
    path = "/api/platforms/circuit-breakers/tiktok/reset"
    assert api.post(path, headers=person.headers).status_code == 403
    assert api.post(path, headers=admin.headers).status_code == 200
    assert client.keys("circuit_breaker:tiktok:*") == []
    client.close()
    wrong = api.post("/api/platforms/circuit-breakers/vimeo/reset", headers=admin.headers)
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (400, "platform")


def test_platform_health_is_unknown_while_redis_is_down(
    whole: Settings, scene: Scene, person: Person, dead: str
) -> None:
    with _client(whole.model_copy(update={"redis_url": SecretStr(f"redis://{dead}")})) as client:
        health = client.get("/api/platforms/health", headers=person.headers).json()["health"]
        breakers = client.get("/api/platforms/circuit-breakers", headers=person.headers)
    assert {item["status"] for item in health} == {"unknown"}
    assert (breakers.status_code, breakers.json()["dependency"]) == (503, "redis")


def test_call_budgets_are_shown_with_what_is_used_of_them(
    api: httpx.Client, scene: Scene, person: Person, redis_url: str
) -> None:
    """As the limiter counts: of the whole app, and of each account of one's own; reading takes nothing."""
    mine, other = scene.account(person, Platform.TIKTOK), scene.person()
    theirs = scene.account(other, Platform.TIKTOK)

    async def take(name: LimitName, accounts: Sequence[str], call: str) -> None:
        now = time.time()
        # In the next window too: this one may end before it is read.
        for at in (now, LIMITS[name].window(now)[1]):
            limiter = Limiter(redis_url, partial(float, at), patience_seconds=30)
            for account in accounts:
                await limiter.reserve(LIMITS[name].platform, account, call)
            await limiter.aclose()

    asyncio.run(take("tiktok.creator_info", (mine, mine, theirs), "creator_info"))
    asyncio.run(take("youtube.uploads", (mine,), "session"))
    for _ in range(2):
        told = api.get("/api/platforms/rate-limits", headers=person.headers).json()["rateLimits"]
        found = {(one["name"], one["subject"]): one for one in told}
        assert found["tiktok.creator_info", mine]["used"] == 2
        assert found["tiktok.init", mine]["used"] == 0
        uploads = found["youtube.uploads", "app"]
        assert (uploads["used"], uploads["limit"], uploads["budget"]) == (1, 100, 50)
        assert uploads["windowSeconds"] == 86_400
        assert {subject for _, subject in found} == {"app", mine}


def test_call_budgets_without_redis_have_no_use(whole: Settings, person: Person, dead: str) -> None:
    with _client(whole.model_copy(update={"redis_url": SecretStr(f"redis://{dead}")})) as client:
        answer = client.get("/api/platforms/rate-limits", headers=person.headers)
    assert {one["used"] for one in answer.json()["rateLimits"]} == {None}

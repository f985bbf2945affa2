"""`/healthz`, `/readyz` and the platforms' breakers."""

import asyncio

import httpx
import pytest
import redis
from fastapi.testclient import TestClient
from pydantic import SecretStr

from minitik_dagster.api.app import create_app
from minitik_dagster.db.types import Platform
from minitik_dagster.local.ports import free_port
from minitik_dagster.resilience.limiter import Limiter
from minitik_dagster.settings import Settings
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


def test_with_all_servers_there_it_is_ready(whole: Settings) -> None:
    with _client(whole) as client:
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


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
    assert set(checks) == {"redis", "mongodb", "s3"}
    assert all(not check["ok"] and check["loss"] for check in checks.values())
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

    async def take() -> None:
        limiter = Limiter(redis_url)
        for account in (mine, mine, theirs):
            await limiter.reserve(Platform.TIKTOK, account, "creator_info")
        await limiter.reserve(Platform.YOUTUBE, mine, "session")
        await limiter.aclose()

    asyncio.run(take())
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

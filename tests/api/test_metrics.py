"""The figures for Prometheus: the same numbers as the queues' own, and what only Redis knows."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from minitik_dagster.db.types import Platform
from minitik_dagster.resilience.limits_table import LIMITS
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene
from tests.api.server import serving

_COMMITTED = """
UPDATE publications SET stage = 'live', status = 'PUBLISHED', "committedAt" = "dueAt" + interval '2 s',
    "acceptedAt" = "dueAt" + interval '3 s', "verifiedAt" = "dueAt" + interval '9 s',
    "createdAt" = "prepareAt" - interval '1 hour'
WHERE id = :id
"""
_STEP = """
INSERT INTO publication_steps (id, "publicationId", "accountId", platform, name, attempt, "canPublish",
    "leaseToken", revision, "startedAt", "endedAt", outcome, "policyVersion")
SELECT 's1', id, "accountId", platform, 'media_publish', 1, false, 0, 0, :now, :now, 'transient', 'v1'
FROM publications WHERE id = :id
"""


def _scrape(api: httpx.Client, admin: Person) -> dict[tuple[str, ...], float]:
    answer = api.get("/metrics", headers=admin.headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_the_figures_are_those_of_the_rows_and_of_redis(
    api: httpx.Client,
    scene: Scene,
    person: Person,
    admin: Person,
    redis_url: str,
    tomorrow: str,
) -> None:
    """Queues, lateness by step, outcomes, unknown, tokens, messages, breakers and limits."""
    account = scene.account(person, Platform.INSTAGRAM)
    ids = []
    for _ in range(2):
        body = {"contentId": scene.content(person), "accountIds": [account]}
        made = api.post("/api/publishing", headers=person.headers, json=body).json()
        ids.append(made["publications"][0]["id"])
    body = {"contentId": scene.content(person), "accountIds": [account], "scheduledAt": tomorrow}
    api.post("/api/scheduling", headers=person.headers, json=body | {"timezone": "UTC"})
    now = datetime.now(UTC).replace(tzinfo=None)
    scene.run(_COMMITTED, id=ids[0])
    scene.run(_STEP, id=ids[0], now=now)
    scene.run(
        "UPDATE publications SET stage = 'unknown', status = 'PUBLISHING' WHERE id = :id", id=ids[1]
    )
    with redis.Redis.from_url(redis_url) as client:
        client.set("circuit_breaker:tiktok:state", "OPEN")
        epoch = now.replace(tzinfo=UTC).timestamp()
        client.set(LIMITS["instagram.posts"].key(account, epoch), 7)
        client.set(LIMITS["youtube.units"].key("", epoch), 56)

    found = _scrape(api, admin)

    stats = api.get("/api/scheduling/stats", headers=admin.headers).json()
    for queue in stats["queues"]:
        for state, count in queue["counts"].items():
            assert found["minitik_queue_jobs", queue["name"], state] == count
    assert found["minitik_lateness_seconds", "instagram", "0.99", "committed"] == 2
    assert found["minitik_lateness_seconds", "instagram", "1", "verified"] == 9
    assert found["minitik_step_outcomes_last_hour", "transient", "instagram"] == 1
    assert found["minitik_day_posts", "today", "instagram", "committed"] == 1
    assert found["minitik_day_lateness_seconds", "today", "instagram", "0.99", "committed"] == 2
    assert found["minitik_unknown",] == 1
    assert found["minitik_publications", "instagram", "scheduled"] == 1
    horizon = found["minitik_token_horizon_seconds", "instagram"]
    assert timedelta(days=59).total_seconds() < horizon < timedelta(days=61).total_seconds()
    assert found["minitik_breaker_state", "tiktok"] == 2
    assert found["minitik_breaker_state", "youtube"] == 0
    assert found["minitik_limit_used", "instagram.posts"] == 7
    assert found["minitik_limit_used", "youtube.units"] == 56
    assert found["minitik_limit_budget", "instagram.posts"] == 50
    assert found["minitik_redis_up",] == 1


def test_failures_uploads_and_messages_are_counted(
    api: httpx.Client, scene: Scene, person: Person, admin: Person
) -> None:
    """What waits in the outbox is counted with its age; what has left is not."""
    now = datetime.now(UTC).replace(tzinfo=None)
    for name, done in (("a", None), ("b", now)):
        scene.run(
            'INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt", "doneAt") '
            "VALUES (:id, 'account.disconnected', '{}', :far, 0, :created, :done)",
            id=name,
            far=now + timedelta(days=1),
            created=now - timedelta(minutes=5),
            done=done,
        )
    scene.run(
        'INSERT INTO upload_sessions (id, "contentId", "userId", "s3Key", "s3UploadId", filename, '
        '"mimeType", "fileSize", "chunkSize", "totalChunks", status, "createdAt", "updatedAt", '
        "\"expiresAt\") VALUES ('u', 'c', :user, 'k', 'x', 'v.mp4', 'video/mp4', 9, 9, 1, 'open', "
        ":now, :now, :now)",
        user=person.id,
        now=now,
    )
    found = _scrape(api, admin)
    assert found["minitik_outbox_waiting", "account.disconnected"] == 1
    assert 299 < found["minitik_outbox_oldest_seconds", "account.disconnected"] < 330
    assert found["minitik_uploads", "open"] == 1


def test_without_redis_the_rest_is_still_told(
    settings: Settings, scene: Scene, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage of Redis must not blind the operator for everything else."""
    down = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1")})
    with serving(down) as api:
        found = _scrape(api, admin)
    assert found["minitik_redis_up",] == 0
    assert found["minitik_queue_jobs", "publish", "waiting"] == 0
    assert not [name for name, *_ in found if name.startswith("minitik_breaker")]


def test_the_figures_are_the_admins(api: httpx.Client, person: Person) -> None:
    assert api.get("/metrics").status_code == 401
    assert api.get("/metrics", headers=person.headers).status_code == 403

"""`GET /api/publishing/{contentId}`: the whole truth about a post, as its owner may see it."""

import threading
from datetime import UTC, datetime

import httpx
import pytest

from minitik_dagster.db.stages import STATUS_OF, Stage
from minitik_dagster.db.types import Platform
from tests.api.scene import Person, Scene

STEP = (
    'INSERT INTO publication_steps (id, "publicationId", "accountId", platform, name, attempt, '
    '"canPublish", "leaseToken", revision, "startedAt", "endedAt", outcome, "platformCode", '
    '"requestId", "policyVersion", detail) SELECT :id, p.id, p."accountId", p.platform, :name, 1, '
    ":can, 1, 0, CAST(:started AS timestamp), CAST(:ended AS timestamp), :outcome, :code, :request, "
    "'v1', CAST(:detail AS jsonb) FROM publications p"
)


@pytest.fixture
def published(api: httpx.Client, scene: Scene, person: Person) -> str:
    """A content with one publication."""
    content = scene.content(person)
    account = scene.account(person, Platform.TIKTOK)
    body = {"contentId": content, "accountIds": [account]}
    answer = api.post("/api/publishing", headers=person.headers, json=body)
    assert answer.status_code == 202, answer.text
    return content


def test_a_live_post_is_told_with_both_times_its_lateness_and_its_ledger(
    api: httpx.Client, scene: Scene, person: Person, published: str
) -> None:
    """Accepted and verified are two facts; lateness is in whole milliseconds; UTC with Z."""
    scene.run(
        "UPDATE publications SET stage = 'live', status = 'PUBLISHED', "
        "\"dueAt\" = '2026-11-24 10:00:00', \"committedAt\" = '2026-11-24 10:00:00.004', "
        "\"acceptedAt\" = '2026-11-24 10:00:00.250', \"verifiedAt\" = '2026-11-24 10:00:03', "
        "\"platformPostId\" = '7123', permalink = 'https://p.example/7123', attempts = 1"
    )
    started = "2026-11-24 09:55:00"
    init = {"id": "s1", "name": "init", "can": False, "started": started, "ended": started}
    scene.run(STEP, **init, outcome="ok", code="ok", request="log-1", detail=None)
    commit = {"id": "s2", "name": "commit", "can": True, "started": "2026-11-24 10:00:00"}
    words = '{"message": "Upload complete."}'
    scene.run(
        STEP, **commit, ended="2026-11-24 10:00:01", outcome="ok", code="201", request="log-2",
        detail=words,
    )  # fmt: skip

    told = api.get(f"/api/publishing/{published}", headers=person.headers).json()

    assert told["contentId"] == published
    [post] = told["publications"]
    assert (post["stage"], post["status"], post["platform"]) == ("live", "PUBLISHED", "TIKTOK")
    assert post["dueAt"] == "2026-11-24T10:00:00.000Z"
    assert post["committedAt"] == "2026-11-24T10:00:00.004Z"
    assert post["acceptedAt"] == "2026-11-24T10:00:00.250Z"
    assert post["verifiedAt"] == "2026-11-24T10:00:03.000Z"
    assert post["latenessMs"] == 4
    assert (post["platformPostId"], post["permalink"]) == ("7123", "https://p.example/7123")
    assert (post["attempts"], post["error"], post["nextAttemptAt"]) == (1, None, None)
    assert [step["name"] for step in post["steps"]] == ["init", "commit"]
    assert post["steps"][1] == {
        "name": "commit",
        "attempt": 1,
        "startedAt": "2026-11-24T10:00:00.000Z",
        "endedAt": "2026-11-24T10:00:01.000Z",
        "outcome": "ok",
        "platformCode": "201",
        "message": "Upload complete.",
        "requestId": "log-2",
    }


def test_a_failed_post_says_code_reason_and_fix(
    api: httpx.Client, scene: Scene, person: Person, published: str
) -> None:
    scene.run(
        "UPDATE publications SET stage = 'failed', status = 'FAILED', error = 'Spam, they say', "
        "\"errorCode\" = 'spam_risk', \"errorFix\" = 'Wait a day'"
    )
    [post] = api.get(f"/api/publishing/{published}", headers=person.headers).json()["publications"]
    assert post["error"] == {"code": "spam_risk", "reason": "Spam, they say", "fix": "Wait a day"}
    assert post["latenessMs"] is None


def test_every_stage_can_be_told(
    api: httpx.Client, scene: Scene, person: Person, published: str
) -> None:
    """No stage of the engine is unknown to the API; review and asking are said apart."""
    for stage in Stage:
        scene.run(
            'UPDATE publications SET stage = :stage, status = CAST(:status AS "PublicationStatus")',
            stage=stage.value,
            status=STATUS_OF[stage].value,
        )
        answer = api.get(f"/api/publishing/{published}", headers=person.headers)
        [post] = answer.json()["publications"]
        assert post["stage"] == stage.value
        expected = {Stage.UNKNOWN: "asking", Stage.REVIEW: "needed"}.get(stage)
        assert post["reviewState"] == expected


def test_a_row_of_the_old_system_is_told_by_its_status(
    api: httpx.Client, scene: Scene, person: Person, published: str
) -> None:
    scene.run(
        "UPDATE publications SET stage = NULL, status = 'PUBLISHED', \"dueAt\" = NULL, "
        "attempts = NULL, revision = NULL"
    )
    [post] = api.get(f"/api/publishing/{published}", headers=person.headers).json()["publications"]
    assert (post["stage"], post["attempts"], post["dueAt"]) == ("live", 0, None)


def test_a_hundred_parallel_requests_for_the_last_places_hold_the_limit(
    api: httpx.Client, scene: Scene
) -> None:
    """A FREE user's five places: however many ask at once, five get in and the rest are refused."""
    person = scene.person()
    scene.run("UPDATE users SET \"subscriptionTier\" = 'FREE' WHERE id = :id", id=person.id)
    account = scene.account(person)
    contents = [scene.content(person) for _ in range(20)]
    answers: list[int] = []

    def ask(content: str) -> None:
        body = {"contentId": content, "accountIds": [account]}
        answers.append(api.post("/api/publishing", headers=person.headers, json=body).status_code)

    threads = [threading.Thread(target=ask, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [202] * 5 + [422] * 15
    assert scene.rows("SELECT count(*) AS jobs FROM scheduled_jobs") == [{"jobs": 5}]


def test_cancel_and_move_at_once_have_one_winner(
    api: httpx.Client, scene: Scene, person: Person, tomorrow: str
) -> None:
    """Whatever the order, the row tells one story: cancelled, or moved and then cancelled."""
    content, account = scene.content(person), scene.account(person)
    body = {"contentId": content, "accountIds": [account], "scheduledAt": tomorrow}
    job = api.post("/api/scheduling", headers=person.headers, json=body).json()["scheduledJobId"]
    path = f"/api/scheduling/{job}"
    answers: list[tuple[str, int]] = []

    def cancel() -> None:
        answers.append(("cancel", api.delete(path, headers=person.headers).status_code))

    def lower() -> None:
        wanted = {"priority": "LOW"}
        answers.append(("move", api.patch(path, headers=person.headers, json=wanted).status_code))

    threads = [threading.Thread(target=way) for way in (cancel, lower) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for way, status in answers if way == "cancel"].count(200) == 1
    assert {status for _, status in answers} <= {200, 409}
    moves = sum(1 for way, status in answers if (way, status) == ("move", 200))
    [row] = scene.rows("SELECT stage, revision FROM publications")
    assert row == {"stage": "cancelled", "revision": moves + 1}


def test_the_numbers_of_the_queues_are_counted_from_the_rows(
    api: httpx.Client, scene: Scene, person: Person, admin: Person, tomorrow: str
) -> None:
    """Delayed = future, waiting = overdue and unclaimed, active = leased; totals are the sums."""
    account = scene.account(person)
    for _ in range(3):
        body = {"contentId": scene.content(person), "accountIds": [account]}
        api.post("/api/publishing", headers=person.headers, json=body)
        body["contentId"] = scene.content(person)
        later = body | {"scheduledAt": tomorrow}
        api.post("/api/scheduling", headers=person.headers, json=later)
    scene.run(
        "UPDATE publications SET \"leaseOwner\" = 'd', \"leaseExpiresAt\" = '2100-01-01' WHERE id = "
        '(SELECT min(id) FROM publications WHERE "dueAt" < :now)',
        now=datetime.now(UTC).replace(tzinfo=None),
    )
    told = api.get("/api/scheduling/stats", headers=admin.headers).json()
    assert [queue["name"] for queue in told["queues"]] == [
        "publish", "analytics", "token-refresh", "dead-letter",
    ]  # fmt: skip
    publish = told["queues"][0]["counts"]
    assert (publish["active"], publish["waiting"], publish["delayed"]) == (1, 2, 3)
    tokens = told["queues"][2]["counts"]
    assert tokens["delayed"] == 1
    for name, total in told["totals"].items():
        assert total == sum(queue["counts"][name] for queue in told["queues"])
    assert set(told["queues"][0]["throughput"]) == {
        "completedLastMinute", "failedLastMinute", "avgProcessingTimeMs",
    }  # fmt: skip

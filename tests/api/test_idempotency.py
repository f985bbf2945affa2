"""`Idempotency-Key`: however often a POST is sent, it creates once."""

import threading

import httpx
import pytest

from tests.api.scene import Person, Scene


@pytest.fixture
def body(scene: Scene, person: Person) -> dict[str, object]:
    """A request that would be granted."""
    return {
        "contentId": scene.content(person),
        "accountIds": [scene.account(person)],
        "allowDuplicate": True,
    }


def _jobs(scene: Scene) -> int:
    [row] = scene.rows("SELECT count(*) AS jobs FROM scheduled_jobs")
    return int(row["jobs"])


def test_the_same_key_and_body_are_answered_the_same_and_create_once(
    api: httpx.Client, scene: Scene, person: Person, body: dict[str, object]
) -> None:
    headers = person.headers | {"Idempotency-Key": "k-1"}
    first = api.post("/api/publishing", headers=headers, json=body)
    again = api.post("/api/publishing", headers=headers, json=body)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["scheduledJobId"] == again.json()["scheduledJobId"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert _jobs(scene) == 1
    other = api.post(
        "/api/publishing", headers=person.headers | {"Idempotency-Key": "k-2"}, json=body
    )
    assert other.json()["scheduledJobId"] != first.json()["scheduledJobId"]


def test_the_same_key_with_another_body_is_refused(
    api: httpx.Client, scene: Scene, person: Person, body: dict[str, object]
) -> None:
    headers = person.headers | {"Idempotency-Key": "k-1"}
    api.post("/api/publishing", headers=headers, json=body)
    other = api.post("/api/publishing", headers=headers, json=body | {"priority": "LOW"})
    assert other.status_code == 422
    assert other.json()["errors"][0]["field"] == "Idempotency-Key"
    assert _jobs(scene) == 1


def test_a_refused_request_keeps_no_key(
    api: httpx.Client, scene: Scene, person: Person, body: dict[str, object]
) -> None:
    """The person may correct what was wrong and send the same key again."""
    headers = person.headers | {"Idempotency-Key": "k-1"}
    before = scene.fingerprint()
    refused = api.post("/api/publishing", headers=headers, json=body | {"accountIds": []})
    assert refused.status_code == 400
    assert scene.fingerprint() == before
    assert api.post("/api/publishing", headers=headers, json=body).status_code == 202


def test_a_key_that_is_a_day_old_counts_no_more(
    api: httpx.Client, scene: Scene, person: Person, body: dict[str, object]
) -> None:
    headers = person.headers | {"Idempotency-Key": "k-1"}
    api.post("/api/publishing", headers=headers, json=body)
    scene.run('UPDATE idempotency_keys SET "expiresAt" = "createdAt" - interval \'1 second\'')
    assert api.post("/api/publishing", headers=headers, json=body).status_code == 202
    assert _jobs(scene) == 2


def test_a_key_belongs_to_its_user(
    api: httpx.Client, scene: Scene, person: Person, body: dict[str, object]
) -> None:
    """Somebody else's key of the same name opens nothing and blocks nothing."""
    key = {"Idempotency-Key": "k-1"}
    api.post("/api/publishing", headers=person.headers | key, json=body)
    other = scene.person()
    own = {"contentId": scene.content(other), "accountIds": [scene.account(other)]}
    assert api.post("/api/publishing", headers=other.headers | key, json=own).status_code == 202
    foreign = api.post("/api/publishing", headers=other.headers | key, json=body)
    assert foreign.status_code == 422


def test_many_at_once_create_one_and_the_others_are_told(
    api: httpx.Client, scene: Scene, person: Person, body: dict[str, object]
) -> None:
    """Under concurrency: the first's answer, or 409 while it is still running."""
    headers = person.headers | {"Idempotency-Key": "k-1"}
    answers: list[httpx.Response] = []

    def send() -> None:
        answers.append(api.post("/api/publishing", headers=headers, json=body))

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {202, 409}
    told = {answer.json()["scheduledJobId"] for answer in answers if answer.status_code == 202}
    assert len(told) == 1
    assert _jobs(scene) == 1

"""`/api/webhooks`: made, changed, tested against a real receiver, looked into, and sent again."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session
from standardwebhooks import Webhook as Verifier

from minitik_dagster.api.app import create_app
from minitik_dagster.notifications.events import CONTENT_READY, WEBHOOK_TYPES, tell
from minitik_dagster.notifications.webhooks import MOST_PER_USER
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene
from tests.notifications.receiver import Receiver, receiving

READY = {"contentId": "c1", "mimeType": "video/mp4", "fileSize": "7", "duration": 1.5}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Where events go."""
    with receiving() as made:
        yield made


def _make(api: httpx.Client, person: Person, url: str, **more: Any) -> dict[str, Any]:
    answer = api.post("/api/webhooks", json={"url": url, **more}, headers=person.headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def _tell(scene: Scene, person: Person) -> None:
    with Session(scene.engine) as session, session.begin():
        tell(session, person.id, CONTENT_READY, **READY)


def _settled(api: httpx.Client, person: Person, webhook_id: str, attempts: int) -> dict[str, Any]:
    """The one delivery, once it has been tried so often and written."""
    while True:
        answer = api.get(f"/api/webhooks/{webhook_id}/deliveries", headers=person.headers)
        [found] = answer.json()["deliveries"]
        if len(found["tries"]) >= attempts:
            delivery: dict[str, Any] = found
            return delivery


def test_a_secret_is_shown_once_sealed_and_signs_what_the_api_process_sends(
    api: httpx.Client, scene: Scene, person: Person, receiver: Receiver
) -> None:
    """From the POST to a verified message; the log tells it, a resend sends it again."""
    made = _make(api, person, receiver.url, description="ours")
    assert made["events"] == list(WEBHOOK_TYPES)
    assert (made["enabled"], made["failingSince"], made["disabledReason"]) == (True, None, None)
    [row] = scene.rows("SELECT secret FROM webhooks")
    assert made["secret"].startswith("whsec_")
    assert made["secret"] not in row["secret"]
    path = f"/api/webhooks/{made['id']}"
    for shown in (
        api.get(path, headers=person.headers),
        api.get("/api/webhooks", headers=person.headers),
    ):
        assert "secret" not in shown.text
    _tell(scene, person)
    [request] = receiver.wait_for(1)
    message = Verifier(made["secret"]).verify(request.body, request.headers)
    assert message["data"] == READY
    delivery = _settled(api, person, made["id"], 1)
    assert delivery["id"] == request.headers["webhook-id"]
    assert (delivery["state"], delivery["statusCode"], delivery["nextAttemptAt"]) == (
        "delivered", 204, None,
    )  # fmt: skip
    assert delivery["timestamp"] == message["timestamp"]
    assert delivery["tries"][0]["statusCode"] == 204
    again = api.post(f"{path}/deliveries/{delivery['id']}/resend", headers=person.headers)
    assert (again.status_code, again.json()["state"]) == (202, "waiting")
    second = receiver.wait_for(2)[1]
    assert second.headers["webhook-id"] == delivery["id"]
    assert _settled(api, person, made["id"], 2)["attempts"] == 2


def test_a_replayed_post_makes_no_second_one_and_shows_no_secret(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    headers = person.headers | {"Idempotency-Key": "k"}
    first, again = (
        api.post("/api/webhooks", json={"url": "http://127.0.0.1:9/"}, headers=headers)
        for _ in range(2)
    )
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert again.json()["secret"] is None
    assert len(scene.rows("SELECT 1 FROM webhooks")) == 1


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://93.184.216.34/hook", "is not https"),
        ("https://10.0.0.1/hook", "is not on the public internet"),
        ("https://u:p4ss@127.0.0.1/", "carries a user name or a password"),
        ("ftp://127.0.0.1/", "is not https"),
        ("nonsense", "is not https"),
        ("https://nowhere.invalid/hook", "has no address"),
    ],
)
def test_a_url_that_nothing_is_sent_to_is_refused_with_field_reason_and_fix(
    api: httpx.Client, scene: Scene, person: Person, url: str, why: str
) -> None:
    made = _make(api, person, "http://127.0.0.1:9/")
    for answer in (
        api.post("/api/webhooks", json={"url": url}, headers=person.headers),
        api.patch(f"/api/webhooks/{made['id']}", json={"url": url}, headers=person.headers),
    ):
        assert answer.status_code == 400, answer.text
        [problem] = answer.json()["errors"]
        assert problem["field"] == "url"
        assert why in problem["message"]
        assert "https URL" in problem["fix"]
        assert "p4ss" not in answer.text
        assert "/hook" not in answer.text
    assert len(scene.rows("SELECT 1 FROM webhooks")) == 1


def test_unknown_events_fields_and_too_many_webhooks_are_refused(
    api: httpx.Client, person: Person
) -> None:
    bad = {"url": "http://127.0.0.1:9/", "events": ["content.ready", "content.gone"]}
    answer = api.post("/api/webhooks", json=bad, headers=person.headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "events[1]")
    answer = api.post("/api/webhooks", json={"url": "x", "uri": "y"}, headers=person.headers)
    assert "uri" in [item["field"] for item in answer.json()["errors"]]
    for _ in range(MOST_PER_USER):
        _make(api, person, "http://127.0.0.1:9/")
    answer = api.post("/api/webhooks", json={"url": "http://127.0.0.1:9/"}, headers=person.headers)
    assert answer.status_code == 422
    assert "10 webhooks" in answer.json()["errors"][0]["message"]


def test_it_is_changed_switched_off_and_on_and_deleted(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """Switched off it is told nothing new; deleted, its deliveries go with it."""
    made = _make(api, person, "http://127.0.0.1:9/")
    path = f"/api/webhooks/{made['id']}"

    def change(**wanted: object) -> dict[str, Any]:
        answer = api.patch(path, json=wanted, headers=person.headers)
        assert answer.status_code == 200, answer.text
        changed: dict[str, Any] = answer.json()
        return changed

    off = change(enabled=False, events=["publication.failed", "content.ready"], description="d")
    assert (off["enabled"], off["disabledReason"]) == (False, "its owner switched it off")
    assert off["events"] == ["publication.failed", "content.ready"]
    _tell(scene, person)
    assert scene.rows("SELECT 1 FROM webhook_deliveries") == []
    assert change(enabled=True)["disabledAt"] is None
    _tell(scene, person)
    assert len(scene.rows("SELECT 1 FROM webhook_deliveries")) == 1
    assert api.delete(path, headers=person.headers).status_code == 204
    assert scene.rows("SELECT 1 FROM webhook_deliveries") == []
    assert api.get(path, headers=person.headers).status_code == 404


def test_deliveries_are_listed_by_state_in_pages(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    made = _make(api, person, "http://127.0.0.1:9/")
    api.patch(f"/api/webhooks/{made['id']}", json={"enabled": False}, headers=person.headers)
    scene.run("UPDATE webhooks SET \"disabledAt\" = NULL, url = 'https://10.0.0.1/'")
    for _ in range(5):
        _tell(scene, person)
    scene.run('UPDATE webhook_deliveries SET state = \'dead\', "doneAt" = at, "leasedUntil" = NULL')
    path = f"/api/webhooks/{made['id']}/deliveries"
    seen, before = [], ""
    while True:
        page = api.get(f"{path}?state=dead&limit=2{before}", headers=person.headers).json()
        seen += [item["id"] for item in page["deliveries"]]
        if page["nextBefore"] is None:
            break
        before = f"&before={page['nextBefore']}"
    assert len(seen) == len(set(seen)) == 5
    assert api.get(f"{path}?state=waiting", headers=person.headers).json()["deliveries"] == []
    assert api.get(f"{path}?state=lost", headers=person.headers).status_code == 400


def test_the_document_tells_every_message_that_is_sent() -> None:
    """OpenAPI's `webhooks`: one per type, each with its own schema, no field of it unnamed."""
    with TestClient(create_app(Settings()), base_url="http://127.0.0.1") as client:
        document = client.get("/openapi.json").json()
    assert set(document["webhooks"]) == set(WEBHOOK_TYPES)
    schemas = document["components"]["schemas"]
    for kind, item in document["webhooks"].items():
        body = item["post"]["requestBody"]["content"]["application/json"]["schema"]
        message = schemas[body["$ref"].rsplit("/", 1)[1]]
        assert message["properties"]["type"]["const"] == kind
        assert set(message["required"]) == {"type", "timestamp", "data"}
        data = schemas[message["properties"]["data"]["$ref"].rsplit("/", 1)[1]]
        assert set(data["required"]) == set(data["properties"])
        assert "422" not in item["post"]["responses"]
    assert "ChangedMessage" in schemas

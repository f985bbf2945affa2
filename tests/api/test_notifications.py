"""`/api/notifications`: wishes are read and changed, browsers subscribe and are told by the API process."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy.orm import Session

from minitik_dagster.api import notices, push_post
from minitik_dagster.notifications.events import PUBLICATION_FAILED, tell
from minitik_dagster.notifications.subscriptions import MOST_PER_USER
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene
from tests.notifications.browser import PRIVATE_KEY, PUBLIC_KEY, SUBJECT, Browser, assert_ours
from tests.notifications.receiver import receiving

PREFERENCES, SUBSCRIPTIONS = "/api/notifications/preferences", "/api/notifications/subscriptions"


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """With web push configured, and no long waits between two looks."""
    for module in (notices, push_post):
        monkeypatch.setattr(module, "SWEEP_EVERY", timedelta(seconds=0.2))
    return settings.model_copy(
        update={
            "vapid_public_key": PUBLIC_KEY,
            "vapid_private_key": SecretStr(PRIVATE_KEY),
            "vapid_subject": SUBJECT,
        }
    )


def _subscribe(
    api: httpx.Client, person: Person, url: str, browser: Browser | None = None
) -> httpx.Response:
    body = (browser or Browser()).subscription(url)
    return api.post(SUBSCRIPTIONS, json=body, headers=person.headers)


def test_a_browser_subscribes_is_told_by_the_api_process_and_unsubscribes(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """With the key that it was given; the row of the old system's table is as that one wrote it."""
    key = api.get("/api/notifications/push-key", headers=person.headers).json()
    assert key == {"publicKey": PUBLIC_KEY}
    browser = Browser()
    with receiving() as service:
        service.answers = [201]
        made = _subscribe(api, person, service.url, browser)
        assert made.status_code == 201, made.text
        assert set(made.json()) == {"id", "host", "createdAt"}
        assert "sesame" not in made.text
        [row] = scene.rows("SELECT * FROM notification_subscriptions")
        given = browser.subscription(service.url)
        assert (row["endpoint"], row["p256dh"], row["auth"]) == (
            given["endpoint"], given["keys"]["p256dh"], given["keys"]["auth"],
        )  # fmt: skip
        with Session(scene.engine) as session, session.begin():
            tell(session, person.id, PUBLICATION_FAILED, platform="tiktok", error={"reason": "no"})
        [request] = service.wait_for(1)
        assert_ours(request, service.url.rpartition("/")[0])
        assert browser.read(request.body)["kind"] == "publication_failed"
    listed = api.get(SUBSCRIPTIONS, headers=person.headers).json()["subscriptions"]
    assert listed == [made.json()]
    gone = api.delete(f"{SUBSCRIPTIONS}/{made.json()['id']}", headers=person.headers)
    assert gone.status_code == 204
    assert scene.rows("SELECT 1 FROM notification_subscriptions") == []


def test_an_endpoint_belongs_to_one_browser_and_to_who_is_signed_in_there(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """Subscribed again it keeps its row and gets its new keys, and its new person."""
    first = _subscribe(api, person, "http://127.0.0.1:9/a").json()
    renewed = Browser(auth=b"fedcba9876543210")
    assert _subscribe(api, person, "http://127.0.0.1:9/a", renewed).json()["id"] == first["id"]
    [row] = scene.rows("SELECT auth FROM notification_subscriptions")
    assert row["auth"] == renewed.subscription("")["keys"]["auth"]
    other = scene.person()
    assert _subscribe(api, other, "http://127.0.0.1:9/a").json()["id"] == first["id"]
    [moved] = scene.rows('SELECT "userId" AS owner FROM notification_subscriptions')
    assert moved["owner"] == other.id


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"endpoint": "http://192.0.2.1/push"}, "endpoint"),
        ({"endpoint": "https://10.0.0.8/push"}, "endpoint"),
        ({"endpoint": "ftp://push.example.test/"}, "endpoint"),
        ({"keys": {"p256dh": "AAAA", "auth": "MDEyMzQ1Njc4OWFiY2RlZg"}}, "keys.p256dh"),
        ({"keys": {**Browser().subscription("")["keys"], "auth": "short"}}, "keys.auth"),
        ({"more": 1}, "more"),
    ],
)
def test_a_subscription_that_cannot_be_sent_to_is_refused(
    api: httpx.Client, scene: Scene, person: Person, change: dict[str, Any], field: str
) -> None:
    """By the outbound module and by the keys' own form, naming the field; nothing is kept."""
    body = Browser().subscription("http://127.0.0.1:9/push") | change
    answer = api.post(SUBSCRIPTIONS, json=body, headers=person.headers)
    assert answer.status_code == 400, answer.text
    assert [item["field"] for item in answer.json()["errors"]] == [field]
    assert scene.rows("SELECT 1 FROM notification_subscriptions") == []


def test_a_person_has_twenty_browsers_at_most(api: httpx.Client, person: Person) -> None:
    for number in range(MOST_PER_USER):
        assert _subscribe(api, person, f"http://127.0.0.1:9/{number}").status_code == 201
    assert _subscribe(api, person, "http://127.0.0.1:9/more").status_code == 422
    assert _subscribe(api, person, "http://127.0.0.1:9/1").status_code == 201


def test_wishes_are_changed_one_by_one_and_the_rest_stays(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    def change(**body: Any) -> dict[str, Any]:
        answer = api.patch(PREFERENCES, json=body, headers=person.headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        assert api.get(PREFERENCES, headers=person.headers).json() == found
        return found

    before = api.get(PREFERENCES, headers=person.headers).json()
    assert before["kinds"] == {
        "content_published": {"push": True, "email": False},
        "publication_failed": {"push": True, "email": True},
        "analytics_update": {"push": True, "email": False},
        "account_disconnected": {"push": True, "email": True},
        "schedule_reminder": {"push": True, "email": False},
    }
    assert before["quietHours"] is None
    assert scene.rows("SELECT 1 FROM notification_preferences") == [], "reading writes nothing"
    found = change(kinds={"content_published": {"email": True}})
    assert found["kinds"]["content_published"] == {"push": True, "email": True}
    assert found["kinds"]["publication_failed"] == before["kinds"]["publication_failed"]
    found = change(timezone="Asia/Kathmandu", quietHours={"from": "22:30", "to": "07:00"})
    assert found["quietHours"] == {"from": "22:30", "to": "07:00"}
    found = change(urgentPasses=False, reminderMinutes=15)
    assert (found["timezone"], found["urgentPasses"], found["reminderMinutes"]) == (
        "Asia/Kathmandu", False, 15,
    )  # fmt: skip
    assert found["quietHours"] == {"from": "22:30", "to": "07:00"}
    found = change(quietHours=None, kinds={"content_published": {"email": False}})
    assert found["quietHours"] is None
    assert found["kinds"] == before["kinds"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"quietHours": {"from": "22:00", "to": "22:00"}}, "quietHours.to"),
        ({"quietHours": {"from": "24:00", "to": "07:00"}}, "quietHours.from"),
        ({"quietHours": {"from": "22:00"}}, "quietHours.to"),
        ({"reminderMinutes": 4}, "reminderMinutes"),
        ({"reminderMinutes": 1441}, "reminderMinutes"),
    ],
)
def test_a_wish_that_means_nothing_is_refused_with_its_field(
    api: httpx.Client, scene: Scene, person: Person, body: dict[str, Any], field: str
) -> None:
    answer = api.patch(PREFERENCES, json=body, headers=person.headers)
    assert answer.status_code == 400, answer.text
    assert [item["field"] for item in answer.json()["errors"]] == [field]
    assert scene.rows("SELECT 1 FROM notification_preferences") == []

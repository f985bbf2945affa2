"""Connecting from a browser: pages instead of JSON, and a flow ends in the session that began it."""

import hashlib

import httpx
from sqlalchemy.orm import Session

from minitik_dagster.accounts.oauth_flow import begin
from minitik_dagster.db.types import Platform, SubscriptionTier
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.settings import Settings
from tests.api.browsing import sign_in
from tests.api.connections.connecting import (
    flows,
    initiate,
    refused,
)
from tests.api.consent import decide
from tests.api.scene import Person, Scene


def test_a_browser_reads_of_a_full_tier_and_of_a_silent_platform_as_well(
    api: httpx.Client, scene: Scene, settings: Settings, sandbox: SandboxServer
) -> None:
    """303 for these too: nobody is left with JSON in a browser."""
    person = scene.person(tier=SubscriptionTier.FREE)
    first, second = flows(scene, settings, person, Platform.TIKTOK, 2)
    html = {"Accept": "text/html"}
    sandbox.add_fault(platform="tiktok", operation="token", kind="status", status=503)
    silent = api.get(decide(first).path, headers=html)
    assert "TikTok did not answer" in api.get(silent.headers["location"]).text
    for _ in range(5):
        scene.account(person)
    full = api.get(decide(second).path, headers=html)
    assert "no place for another account" in api.get(full.headers["location"]).text
    assert len(scene.rows("SELECT id FROM accounts")) == 5


def test_a_browser_is_sent_to_a_page_that_says_the_same(
    api: httpx.Client, person: Person, settings: Settings
) -> None:
    """303 and no-store; nothing of the query but our own words gets onto the page."""
    html = {"Accept": "text/html,*/*"}
    back = decide(initiate(api, person, Platform.YOUTUBE)["authorizationUrl"])
    done = api.get(back.path, headers=html)
    assert done.status_code == 303
    assert done.headers["cache-control"] == "no-store"
    assert done.headers["location"].startswith(
        f"{settings.nextauth_url}/connected?connected=youtube"
    )
    assert back.query["code"] not in done.headers["location"]
    assert "YouTube is connected" in api.get(done.headers["location"]).text
    again = api.get(back.path, headers=html)
    assert again.status_code == 303
    page = api.get(again.headers["location"])
    assert "has been finished before" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    planted = api.get(
        "/connected",
        params={"connected": "tiktok", "account": '"><script>', "held": "3", "refused": "<script>"},
    )
    assert "<script>" not in planted.text


def test_a_flow_of_a_browser_session_ends_in_the_same_one(
    api: httpx.Client, scene: Scene, settings: Settings, person: Person
) -> None:
    """A link that was passed on to somebody else connects nothing, and spends nothing."""
    with Session(scene.engine) as session, session.begin():
        url = begin(
            session,
            settings,
            person.id,
            Platform.TIKTOK,
            session_hash=hashlib.sha256(b"the-cookie").hexdigest(),
        ).authorization_url
    back = decide(url)
    refused(api.get(back.path), "other_browser")
    refused(api.get(back.path, headers={"Cookie": "minitik_session=another"}), "other_browser")
    done = api.get(back.path, headers={"Cookie": "minitik_session=the-cookie"})
    assert done.status_code == 200


def test_a_flow_that_a_signed_in_person_began_ends_in_their_own_session_only(
    api: httpx.Client, scene: Scene, settings: Settings, person: Person
) -> None:
    """The cookie of signing in: another person's session and another session of the same are refused."""
    mine = sign_in(scene, person.id) | {"Origin": settings.nextauth_url}
    begun = api.post("/api/accounts/initiate", json={"provider": "tiktok"}, headers=mine)
    back = decide(begun.json()["authorizationUrl"])
    for other in (sign_in(scene, scene.person().id), sign_in(scene, person.id), person.headers):
        refused(api.get(back.path, headers=other), "other_browser")
    assert scene.rows("SELECT 1 FROM accounts") == []
    done = api.get(back.path, headers={"Cookie": mine["Cookie"]})
    assert done.status_code == 200, done.text
    assert [row["userId"] for row in scene.rows('SELECT "userId" FROM accounts')] == [person.id]

"""Connecting an account again: one row, its history and its posts; never somebody else's account."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from minitik_dagster.db.types import Platform
from minitik_dagster.ids import new_id
from minitik_dagster.local.servers.sandbox import SandboxServer
from tests.api.connections.connecting import (
    LEGACY,
    PLATFORMS,
    connect,
    initiate,
    opened,
    refused,
    sandbox_account,
)
from tests.api.consent import decide, with_query
from tests.api.scene import Person, Scene


@pytest.mark.parametrize("platform", PLATFORMS)
def test_connecting_the_same_account_again_updates_its_one_row(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer, platform: Platform
) -> None:
    """Id, first connection and choices stay; tokens are new and the version rises."""
    known = sandbox_account(sandbox, platform)
    first = connect(api, person, platform, known)["account"]["id"]
    scene.run(
        "UPDATE accounts SET status = 'EXPIRED', \"refreshFailures\" = 3, metadata = metadata || "
        '\'{"tiktok": {"defaultPrivacy": "SELF_ONLY"}}\' WHERE id = :id',
        id=first,
    )
    before = opened(scene, first)
    again = connect(api, person, platform, known, accountId=first)
    assert (again["created"], again["account"]["id"]) == (False, first)
    assert again["account"]["probeOutcome"] == "ok", "it was just asked whose account it is"
    assert again["account"]["lastSyncAt"] == again["account"]["probedAt"] is not None
    after = opened(scene, first)
    assert after["accessToken"] != before["accessToken"]
    assert (after["tokenVersion"], after["status"]) == (2, "CONNECTED")
    assert after["refreshFailures"] == 0
    assert after["connectedAt"] == before["connectedAt"]
    assert again["account"]["defaultPrivacy"] == "SELF_ONLY"
    assert len(scene.rows("SELECT id FROM accounts")) == 1


def test_google_without_a_refresh_token_keeps_the_old_one_or_is_refused(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """Never an empty one over a token; an account that could not be renewed is not connected."""
    known = sandbox_account(sandbox, Platform.YOUTUBE)

    def without_consent() -> httpx.Response:
        url = initiate(api, person, Platform.YOUTUBE)["authorizationUrl"]
        return api.get(decide(with_query(url, prompt=None), account=known).path)

    refused(without_consent(), "no_refresh_token")
    assert scene.rows("SELECT id FROM accounts") == []
    account = connect(api, person, Platform.YOUTUBE, known)["account"]["id"]
    before = opened(scene, account)
    assert without_consent().status_code == 200
    after = opened(scene, account)
    assert after["refreshToken"] == before["refreshToken"]
    assert after["accessToken"] != before["accessToken"]
    scene.run("UPDATE accounts SET status = 'EXPIRED'")
    refused(without_consent(), "no_refresh_token")


def test_another_account_than_the_one_to_reconnect_is_refused(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """Neither the named account nor the chosen one is touched."""
    known, other = (sandbox_account(sandbox, Platform.TIKTOK) for _ in range(2))
    mine = connect(api, person, Platform.TIKTOK, known)["account"]["id"]
    url = initiate(api, person, Platform.TIKTOK, accountId=mine)["authorizationUrl"]
    back = decide(url, account=other)
    before = scene.fingerprint(but="oauth_states")
    refused(api.get(back.path), "other_account")
    assert scene.fingerprint(but="oauth_states") == before


def test_an_adopted_account_reconnects_with_its_id_history_and_held_posts(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """A row of the old system, its token long dead: one row, and its posts are offered."""
    known = sandbox_account(sandbox, Platform.TIKTOK)
    legacy = new_id()
    scene.run(
        'INSERT INTO accounts (id, "userId", platform, "platformAccountId", "accessToken", '
        '"refreshToken", status, "connectedAt", "disconnectedAt") VALUES (:id, :user, \'TIKTOK\', '
        ":known, '', NULL, 'REVOKED', '2024-02-03 04:05:06', '2025-01-01')",
        id=legacy,
        user=person.id,
        known=known,
    )
    now = datetime.now(UTC).replace(tzinfo=None)
    early, late = new_id(), new_id()
    for post, due in ((early, now + timedelta(hours=1)), (late, now - timedelta(days=3))):
        scene.run(
            'INSERT INTO publications (id, "contentId", "accountId", platform, status, stage, '
            '"dueAt", "leaseToken", "holdReason", "createdAt", "updatedAt") VALUES (:id, :content, '
            ":account, 'TIKTOK', 'QUEUED', 'held', :due, 1, 'account', :now, :now)",
            id=post,
            content=scene.content(person),
            account=legacy,
            due=due,
            now=now,
        )
    waiting = api.post(f"/api/accounts/{legacy}/release", headers=person.headers)
    assert (waiting.status_code, waiting.json()["state"]) == (409, "REVOKED")
    [before] = api.get("/api/accounts", headers=person.headers).json()["accounts"]
    assert "disconnected" in before["capabilities"]["reasons"]["publish"]
    got = connect(api, person, Platform.TIKTOK, known)
    assert (got["created"], got["account"]["id"]) == (False, legacy)
    assert got["heldPosts"]["count"] == 2
    assert [post["id"] for post in got["heldPosts"]["tooLate"]] == [late]
    row = opened(scene, legacy)
    assert (row["disconnectedAt"], row["tokenVersion"]) == (None, 1)
    assert row["connectedAt"] == datetime(2024, 2, 3, 4, 5, 6)  # noqa: DTZ001 - as the column holds it
    assert row["accessToken"]
    assert row["refreshToken"]
    released = api.post(f"/api/accounts/{legacy}/release", headers=person.headers)
    assert released.json() == {"released": [early], "tooLate": [late]}
    stages = scene.rows("SELECT id, stage FROM publications")
    assert {r["id"]: r["stage"] for r in stages} == {early: "scheduled", late: "held"}


def test_an_adopted_refresh_token_stays_as_it_was_sealed_when_the_answer_has_none(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """A row of the old system, sealed under an older key: the new access token stands beside it."""
    known = sandbox_account(sandbox, Platform.YOUTUBE)
    legacy = new_id()
    scene.run(
        'INSERT INTO accounts (id, "userId", platform, "platformAccountId", "accessToken", '
        '"refreshToken", status, "connectedAt", metadata) VALUES (:id, :user, \'YOUTUBE\', :known, '
        ":stored, :stored, 'CONNECTED', '2024-02-03', '[]')",
        id=legacy,
        user=person.id,
        known=known,
        stored=LEGACY["stored"],
    )
    url = initiate(api, person, Platform.YOUTUBE, accountId=legacy)["authorizationUrl"]
    answer = api.get(decide(with_query(url, prompt=None), account=known).path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["account"]["id"] == legacy
    row = opened(scene, legacy)
    assert row["refreshToken"] == LEGACY["plaintext"]
    assert row["accessToken"] != LEGACY["plaintext"]
    assert row["metadata"]["scopes"]

"""`POST /api/webhooks/tiktok`: signed events come true once; all else is refused and changes nothing."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import text

from minitik_dagster.api.app import create_app
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.settings import Settings
from tests.accounts.scene import wait_for
from tests.api.scene import Person, Scene
from tests.api.server import serving
from tests.tiktok_events import CLIENT_KEY, SECRET, event_body, signature

PATH = "/api/webhooks/tiktok"
REMOVED = "authorization.removed"
STORED = 'SELECT event, outcome, "handledAt" >= "receivedAt" AS handled FROM inbound_events'


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With a TikTok app."""
    app = {"tiktok_client_id": CLIENT_KEY, "tiktok_client_secret": SecretStr(SECRET)}
    return settings.model_copy(update=app)


@dataclass(frozen=True)
class Caller:
    """TikTok, as the API sees it."""

    api: httpx.Client

    def tell(
        self, event: str, account: str, *, created: float | None = None, **content: Any
    ) -> dict[str, Any]:
        """Send an event; it must be taken."""
        body = event_body(event, account, created=created, **content)
        answer = self.send(body, signature(body))
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def send(self, body: bytes, signed: str | None) -> httpx.Response:
        """Send a body with a signature, whatever they are."""
        headers = {"Content-Type": "application/json"}
        if signed is not None:
            headers["Tiktok-Signature"] = signed
        return self.api.post(PATH, content=body, headers=headers)


@pytest.fixture
def tiktok(api: httpx.Client) -> Caller:
    """Who sends events."""
    return Caller(api)


@pytest.fixture
def account(scene: Scene, person: Person) -> str:
    """A connected TikTok account; its open id is `p-` and its id."""
    return scene.account(person, Platform.TIKTOK)


def _state(scene: Scene, account: str) -> tuple[str, int]:
    """The account's status, and how many were told that it is disconnected."""
    [row] = scene.rows(
        "SELECT CAST(status AS text) AS status FROM accounts WHERE id = :id", id=account
    )
    notices = scene.rows("SELECT id FROM outbox WHERE kind = 'account.disconnected'")
    return row["status"], len(notices)


def test_a_withdrawal_is_stored_and_comes_true_once(
    tiktok: Caller, scene: Scene, account: str
) -> None:
    """REVOKED with one notice that says why; the retry is answered alike and changes nothing."""
    body = event_body(REMOVED, f"p-{account}", reason=1)
    first = tiktok.send(body, signature(body))
    assert (first.status_code, first.json()) == (200, {"received": True, "duplicate": False})
    assert _state(scene, account) == ("REVOKED", 1)
    [notice] = scene.rows("SELECT payload FROM outbox")
    assert notice["payload"]["reason"] == "the creator removed the app in TikTok"
    assert scene.rows(STORED) == [
        {"event": REMOVED, "outcome": "accounts withdrawn: 1", "handled": True}
    ]
    [kept] = scene.rows("SELECT payload FROM inbound_events")
    assert kept["payload"] == json.loads(body)

    # Brought back meanwhile, with no newer token known: the duplicate alone must not end it again.
    scene.run("UPDATE accounts SET status = 'CONNECTED'")
    for age in (0, 3600):
        again = tiktok.send(body, signature(body, age=age))
        assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert _state(scene, account) == ("CONNECTED", 1)
    assert len(scene.rows(STORED)) == 1


def test_what_is_not_signed_by_tiktok_is_refused_and_nothing_is_stored(
    tiktok: Caller, scene: Scene, account: str
) -> None:
    """401: no signature, a forged one, one of another body, one too old, one of the future."""
    body = event_body(REMOVED, f"p-{account}", reason=1)
    before = scene.fingerprint()
    for signed in (
        None,
        "t=1,s=1",
        signature(body, secret="forged"),
        signature(body + b" "),
        signature(body, age=73 * 3600 + 60),
        signature(body, age=-400),
    ):
        answer = tiktok.send(body, signed)
        assert answer.status_code == 401, signed
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "TikTok-Signature"
        assert answer.json()["type"] == "/problems/unauthorized"
        assert SECRET not in answer.text
    assert scene.fingerprint() == before
    assert tiktok.send(body, signature(body, age=72 * 3600)).status_code == 200


def test_a_signed_body_that_is_no_event_is_400_and_a_large_one_413(
    tiktok: Caller, scene: Scene
) -> None:
    """With its length told, and without."""
    before = scene.fingerprint()
    for body, field in ((b"nonsense", "body"), (event_body("e", ""), "user_openid")):
        answer = tiktok.send(body, signature(body))
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == field
    large = event_body("e", "o", text="x" * 66_000)
    signed = {"TikTok-Signature": signature(large)}
    for content in (large, iter([large[:40_000], large[40_000:]])):
        answer = tiktok.api.post(PATH, content=content, headers=signed)
        assert answer.status_code == 413
        assert answer.json()["type"] == "/problems/body-too-large"
    assert scene.fingerprint() == before


def test_events_that_concern_nothing_here_are_answered_200_and_only_stored(
    tiktok: Caller, scene: Scene, account: str
) -> None:
    """An unknown account, a post before its publish_id is stored, another kind, another app of ours."""
    before = scene.fingerprint(but="inbound_events")
    tiktok.tell(REMOVED, "p-nobody", reason=1)
    tiktok.tell("post.publish.complete", f"p-{account}", publish_id="v_pub_file~v2-1.1")
    tiktok.tell("post.publish.failed", f"p-{account}")
    tiktok.tell("portability.download.ready", f"p-{account}", request_id=1)
    body = event_body(REMOVED, f"p-{account}").replace(CLIENT_KEY.encode(), b"another")
    assert tiktok.send(body, signature(body)).status_code == 200
    assert scene.fingerprint(but="inbound_events") == before
    outcomes = [row["outcome"] for row in scene.rows(STORED + ' ORDER BY "receivedAt", id')]
    assert outcomes == [
        "no such account",
        "no post waits for it",
        "names no publish_id",
        "not an event that changes anything here",
        "of another app of ours",
    ]


def test_a_withdrawal_older_than_the_accounts_token_is_ignored(
    tiktok: Caller, scene: Scene, account: str
) -> None:
    """It comes late, after a reconnect; one within the token's own second counts."""
    issued = int(time.time()) - 60
    scene.run(
        "UPDATE accounts SET \"tokenIssuedAt\" = to_timestamp(:at) AT TIME ZONE 'UTC'",
        at=issued + 0.9,
    )
    tiktok.tell(REMOVED, f"p-{account}", created=issued - 1, reason=1)
    assert _state(scene, account) == ("CONNECTED", 0)
    assert [row["outcome"] for row in scene.rows(STORED)] == ["older than the account's token"]
    tiktok.tell(REMOVED, f"p-{account}", created=issued, reason=1)
    assert _state(scene, account) == ("REVOKED", 1)


def test_a_withdrawal_of_an_account_that_is_not_connected_changes_nothing(
    tiktok: Caller, scene: Scene, person: Person
) -> None:
    """Our own disconnect makes TikTok send one, too: no second notice."""
    account = scene.account(person, Platform.TIKTOK, status=AccountStatus.REVOKED)
    tiktok.tell(REMOVED, f"p-{account}", reason=5)
    assert _state(scene, account) == ("REVOKED", 0)


def test_everybody_who_connected_the_account_is_told(
    tiktok: Caller, scene: Scene, account: str
) -> None:
    """Two people may have connected one TikTok account; another platform's of that id is none of it."""
    second = scene.account(scene.person(), Platform.TIKTOK)
    other = scene.account(scene.person(), Platform.YOUTUBE)
    scene.run("UPDATE accounts SET \"platformAccountId\" = 'shared'")
    tiktok.tell(REMOVED, "shared", reason=4)
    assert _state(scene, account) == ("REVOKED", 2)
    assert _state(scene, second) == ("REVOKED", 2)
    assert _state(scene, other) == ("CONNECTED", 2)


def test_deliveries_of_one_event_at_once_make_one_row_and_one_effect(
    tiktok: Caller, scene: Scene, account: str
) -> None:
    """Twelve at once: each is answered with 200, one of them as the first."""
    body = event_body(REMOVED, f"p-{account}", reason=1)

    def deliver(_: int) -> bool:
        answer = tiktok.send(body, signature(body))
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["duplicate"])

    with ThreadPoolExecutor(12) as pool:
        told = list(pool.map(deliver, range(12)))
    assert told.count(False) == 1
    assert _state(scene, account) == ("REVOKED", 1)
    assert len(scene.rows(STORED)) == 1


@pytest.mark.slow
def test_a_delivery_that_cannot_be_handled_now_stores_nothing_and_comes_true_when_sent_again(
    tiktok: Caller, scene: Scene, account: str
) -> None:
    """A refresh holds the account's row while it awaits TikTok: 503 after 3 s, and TikTok retries."""
    body = event_body(REMOVED, f"p-{account}", reason=1)
    with scene.engine.begin() as connection:
        connection.execute(text("SELECT id FROM accounts FOR UPDATE"))
        answer = tiktok.send(body, signature(body))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert scene.rows(STORED) == []
    assert tiktok.send(body, signature(body)).json()["duplicate"] is False
    assert _state(scene, account) == ("REVOKED", 1)


def test_without_a_tiktok_app_no_event_can_be_verified() -> None:
    """503, naming the variables."""
    app = create_app(Settings(database_url=SecretStr("postgresql://nobody@127.0.0.1:9/none")))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        answer = client.post(PATH, content=b"{}", headers={"TikTok-Signature": "t=1,s=1"})
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/misconfigured"
    assert "TIKTOK_CLIENT_SECRET" in answer.json()["detail"]


@pytest.fixture
def told_by_sandbox(settings: Settings, sandbox: SandboxServer) -> Iterator[SandboxServer]:
    """The sandbox, whose TikTok sends its events to the API."""
    with serving(settings) as client:
        sandbox.send_events_to(f"{client.base_url}".rstrip("/") + PATH)
        yield sandbox


def _at_the_sandbox(scene: Scene, sandbox: SandboxServer, person: Person) -> tuple[str, str]:
    """A TikTok account that both sides know: its id here and there."""
    account, there = scene.account(person, Platform.TIKTOK), sandbox.create_account("tiktok")
    scene.run(
        'UPDATE accounts SET "platformAccountId" = :there WHERE id = :id',
        there=there["platformAccountId"],
        id=account,
    )
    return account, there["platformAccountId"]


def test_who_removes_the_app_in_tiktok_is_told_at_once(
    told_by_sandbox: SandboxServer, scene: Scene, person: Person
) -> None:
    """End to end over HTTP: the withdrawal at the platform, its signed event, the account's state."""
    account, there = _at_the_sandbox(scene, told_by_sandbox, person)
    told_by_sandbox.revoke("tiktok", there)
    wait_for(lambda: _state(scene, account) == ("REVOKED", 1), "the withdrawal")


def test_a_lying_sender_changes_nothing_more(
    told_by_sandbox: SandboxServer, scene: Scene, person: Person
) -> None:
    """Forged, signed 80 hours ago, and from before the reconnect; the true one comes five times."""
    account, there = _at_the_sandbox(scene, told_by_sandbox, person)
    scene.run("UPDATE accounts SET \"tokenIssuedAt\" = statement_timestamp() AT TIME ZONE 'UTC'")

    def statuses(**how: Any) -> list[int]:
        sent = told_by_sandbox.send_event(REMOVED, there, content={"reason": 1}, **how)
        return [delivery["status"] for delivery in sent]

    assert statuses(forged=True) == [401]
    assert statuses(signedSecondsAgo=80 * 3600) == [401]
    assert statuses(createdSecondsAgo=600, signedSecondsAgo=70 * 3600) == [200]
    assert _state(scene, account) == ("CONNECTED", 0)
    assert statuses(copies=5) == [200] * 5
    assert _state(scene, account) == ("REVOKED", 1)

"""A preview or a copy beside the deployment that the database belongs to: it does nothing of its own accord.

Two API processes' worth of state on one database, each with a world of its own outside: mail printed here, an
alert's target, web push and webhooks at real servers on loopback.
"""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from minitik_dagster.accounts.api_keys import database_now
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.api import alarm, notices, push_post
from minitik_dagster.api.alarm import AlarmWatch
from minitik_dagster.api.background import Work
from minitik_dagster.api.notices import NoticePost
from minitik_dagster.api.push_post import PushPost
from minitik_dagster.api.state import ApiState
from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.notifications import subscriptions
from minitik_dagster.notifications.alert_post import NOTICE, AlertPost, target_of
from minitik_dagster.notifications.deliveries import DeliverySender
from minitik_dagster.notifications.events import CONTENT_READY, tell
from minitik_dagster.notifications.notices import (
    ACCOUNT_DISCONNECTED,
    PUSH,
    QUEUE_NOTICE,
    SIGN_IN_LINK,
    notice,
)
from minitik_dagster.notifications.push import PushSender
from minitik_dagster.notifications.webhooks import create_webhook
from minitik_dagster.settings import Settings
from tests.api.browsing import Mailbox, ask
from tests.api.scene import Person, Scene
from tests.api.server import serving
from tests.notifications.browser import PRIVATE_KEY, PUBLIC_KEY, SUBJECT, Browser
from tests.notifications.receiver import Receiver, receiving

OFF, ANOTHER = {"minitik_dispatch": "off"}, {"minitik_instance": "preview"}
previews = pytest.mark.parametrize("change", [OFF, ANOTHER], ids=["off", "another instance"])


@dataclass
class Outside:
    """What a deployment reaches: who is told of alerts, a browser's push service, a person's webhook."""

    alerts: Receiver
    push: Receiver
    webhook: Receiver

    def requests(self) -> list[int]:
        """How many came at each."""
        return [len(one.requests) for one in (self.alerts, self.push, self.webhook)]


@pytest.fixture
def outside() -> Iterator[Outside]:
    with ExitStack() as stack:
        yield Outside(*(stack.enter_context(receiving()) for _ in range(3)))


@dataclass
class Deployment:
    """One API process's worth of state; its background work is taken turn by turn."""

    settings: Settings
    state: ApiState = field(init=False)
    works: list[Work] = field(init=False)

    def __post_init__(self) -> None:
        self.state = ApiState(self.settings)
        self.works = [AlarmWatch(self.state), NoticePost(self.state), PushPost(self.state)]

    def turn(self) -> None:
        """One turn of all."""
        for work in self.works:
            work.turn(lambda: False)
        asyncio.run(self._webhooks())

    async def _webhooks(self) -> None:
        engine = make_async_engine(self.settings.require_database_url(), pool_size=2)
        sender = DeliverySender(engine, self.settings, Vault.from_settings(self.settings).open)
        try:
            await sender.work()
            await sender.idle()
        finally:
            await engine.dispose()


@pytest.fixture
def owner(settings: Settings, outside: Outside, scene: Scene) -> Iterator[Deployment]:
    """The deployment that the database is bound to."""
    scene.run("INSERT INTO settings VALUES ('instance', '\"default\"', now())")
    made = Deployment(
        settings.model_copy(
            update={
                "minitik_alert_urls": SecretStr(outside.alerts.url.replace("http", "json", 1)),
                "vapid_public_key": PUBLIC_KEY,
                "vapid_private_key": SecretStr(PRIVATE_KEY),
                "vapid_subject": SUBJECT,
            }
        )
    )
    yield made
    made.state.close()


@pytest.fixture
def preview(owner: Deployment, change: dict[str, str]) -> Iterator[Deployment]:
    """Its whole environment was copied, but for what makes it a preview and what it tells of alerts."""
    elsewhere = {"minitik_alert_urls": SecretStr("json://127.0.0.1:1/nobody")}
    made = Deployment(owner.settings.model_copy(update=change | elsewhere))
    yield made
    made.state.close()


def _something_of_everything_waits(
    scene: Scene, person: Person, owner: Deployment, outside: Outside
) -> None:
    """A notice, a push message, a webhook's event, an alert's notice, a reminder, an alarm, what has ended."""
    vault = Vault.from_settings(owner.settings)
    given = Browser().subscription(outside.push.url)
    outside.push.answers = [410]
    with Session(scene.engine) as session, session.begin():
        made = subscriptions.subscribe(
            session, person.id, endpoint=given["endpoint"], **given["keys"]
        )
        create_webhook(
            session, person.id, url=outside.webhook.url, events=None, description=None,
            seal=vault.seal,
        )  # fmt: skip
        tell(session, person.id, CONTENT_READY, contentId="c", status="READY")
        subscription, now = made.id, database_now(session)
    facts = {"userId": person.id, "accountId": scene.account(person), "platform": "youtube"}
    gone = {"status": "REVOKED", "reason": "gone", "heldPosts": 0}
    alerted = {"key": "k", "level": "warning", "before": None, "message": "m"}
    [target] = map(target_of, owner.settings.alert_urls())
    rows = (
        notice(ACCOUNT_DISCONNECTED, **facts, **gone),
        notice(PUSH, notice=ACCOUNT_DISCONNECTED, subscriptionId=subscription, **facts, **gone),
        notice(NOTICE, target=target, **alerted),
    )
    with scene.engine.begin() as connection:
        for row in rows:
            connection.execute(text(QUEUE_NOTICE), row)
    _late_publication(scene, facts["accountId"], scene.content(person), now)
    scene.run(
        'INSERT INTO scheduled_jobs (id, "contentId", "scheduledAt", timezone, priority, status, '
        "\"createdAt\", \"updatedAt\") VALUES ('j', :content, :at, 'UTC', 'NORMAL', 'PENDING', :made, "
        ":made)",
        content=scene.content(person),
        at=(now + timedelta(minutes=20)).replace(tzinfo=None),
        made=(now - timedelta(days=1)).replace(tzinfo=None),
    )
    scene.run("INSERT INTO verification_tokens VALUES ('a@b.test', 'sha256:x', '2020-01-01')")


def _late_publication(scene: Scene, account: str, content: str, now: datetime) -> None:
    scene.run(
        'INSERT INTO publications (id, "contentId", "accountId", platform, status, stage, "dueAt", '
        '"prepareAt", "createdAt", "updatedAt") VALUES (\'late\', :content, :account, \'YOUTUBE\', '
        "'QUEUED', 'scheduled', :at, :at, :at, :at)",
        content=content,
        account=account,
        at=(now.astimezone(UTC) - timedelta(minutes=3)).replace(tzinfo=None),
    )


@previews
def test_a_preview_sends_judges_and_clears_away_nothing_and_the_owner_all_of_it(
    scene: Scene,
    person: Person,
    owner: Deployment,
    preview: Deployment,
    outside: Outside,
    mailbox: Mailbox,
) -> None:
    """Not a row is another one after its turns; then the owner's one turn does everything."""
    _something_of_everything_waits(scene, person, owner, outside)
    before = scene.fingerprint()
    with capture_logs() as lines:
        preview.turn()
        preview.turn()
        # Whoever else calls them.
        assert AlertPost(scene.engine, preview.settings).work() == 0
        assert PushSender(scene.engine, preview.settings).work() == 0
    assert scene.fingerprint() == before
    assert outside.requests() == [0, 0, 0]
    assert scene.rows("SELECT 1 FROM alerts") == []
    assert mailbox.text() == ""
    assert [line["event"] for line in lines] == ["deployment.idle"], "it is said, once"

    owner.turn()
    # The notice goes to the browser too, and the alarm to where alerts go.
    assert outside.requests() == [2, 2, 1]
    assert f"to {person.id}@example.test" in mailbox.text()
    assert scene.rows("SELECT 1 FROM notification_subscriptions") == []
    assert scene.rows("SELECT 1 FROM verification_tokens") == []
    assert [row["key"] for row in scene.rows("SELECT key FROM alerts")] == ["publish.overdue"]
    assert len(scene.rows("SELECT 1 FROM outbox WHERE kind = 'schedule.reminder'")) == 1
    owner.turn()
    undone = scene.rows(
        "SELECT kind FROM outbox WHERE \"doneAt\" IS NULL AND kind <> 'alert.notice'"
    )
    assert undone == []


@pytest.mark.parametrize("change", [OFF])
def test_a_link_asked_for_at_a_preview_leads_there_and_is_sent_from_there(
    owner: Deployment,
    preview: Deployment,
    scene: Scene,
    person: Person,
    mailbox: Mailbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With its own key and address; the owner's process neither sends it nor spoils it."""
    for module in (notices, push_post):
        monkeypatch.setattr(module, "SWEEP_EVERY", timedelta(days=1))
    monkeypatch.setattr(alarm, "LOOK_EVERY", timedelta(days=1))
    own = {
        "nextauth_url": "https://preview.example.test",
        "encryption_key": SecretStr(secrets.token_hex(32)),
    }
    with serving(preview.settings.model_copy(update=own)) as api:
        # What is asked for at the owner is not the preview's.
        with serving(owner.settings) as front:
            assert ask(front, f"{person.id}@example.test").status_code == 202
            mailbox.tokens()
        assert ask(api, f"{person.id}@example.test").status_code == 202
        [_, token] = mailbox.tokens(2)
        assert f"https://preview.example.test/auth/verify?token={token}" in mailbox.text()
        done = api.post("/api/auth/verify", json={"token": token})
        assert done.status_code == 200, done.text


@previews
def test_of_two_deployments_each_sends_its_own_links_and_the_owner_closes_what_is_over(
    owner: Deployment, preview: Deployment, scene: Scene, person: Person, mailbox: Mailbox
) -> None:
    """Even where both have the same mail service; what nobody sent in 15 minutes is done with."""
    vault = Vault.from_settings(owner.settings)
    address = f"{person.id}@example.test"
    site = "https://preview.example.test"
    for own in ({}, {"site": site}):
        with scene.engine.begin() as connection:
            values = notice(SIGN_IN_LINK, email=address, token=vault.seal(f"t{own}"), **own)
            connection.execute(text(QUEUE_NOTICE), values)
    preview.turn()
    assert _links(mailbox) == [], "one is the owner's, the other another address's"
    owner.turn()
    assert len(_links(mailbox)) == 1
    assert site not in mailbox.text()
    elsewhere = Deployment(preview.settings.model_copy(update={"nextauth_url": site}))
    scene.run('UPDATE outbox SET "createdAt" = "createdAt" - interval \'16 minutes\'')
    owner.turn()
    assert [
        row["error"] for row in scene.rows('SELECT error FROM outbox WHERE "doneAt" IS NOT NULL')
    ]
    assert scene.rows("SELECT 1 FROM outbox WHERE payload ? 'token'") == []
    elsewhere.turn()
    elsewhere.state.close()
    assert len(_links(mailbox)) == 1


def _links(mailbox: Mailbox) -> list[str]:
    return [line for line in mailbox.text().splitlines() if "/auth/verify" in line]


@pytest.mark.parametrize("change", [ANOTHER])
def test_readiness_says_that_this_deployment_sends_and_publishes_nothing(
    owner: Deployment, preview: Deployment, admin: Person
) -> None:
    """With the reason; the owner's says nothing of the kind."""
    assert _deployment(owner, admin) == []
    [said] = _deployment(preview, admin)
    assert not said["ok"]
    assert "this database is bound to 'default'" in said["detail"]
    assert "publishes and sends nothing" in said["loss"]


def _deployment(deployment: Deployment, admin: Person) -> list[dict[str, Any]]:
    with serving(deployment.settings) as api:
        checks = api.get("/readyz", headers=admin.headers).json()["checks"]
    return [check for check in checks if check["name"] == "deployment"]


@pytest.fixture
def mailbox(capsys: pytest.CaptureFixture[str]) -> Mailbox:
    """What is printed as mail; the database is stamped `sandbox`."""
    return Mailbox(capsys)


def test_an_unbound_database_is_everybodys(engine: Engine, settings: Settings) -> None:
    """Until the first dispatcher has bound it, a deployment of any name works."""
    from minitik_dagster.db.instance import is_ours

    with engine.connect() as connection:
        assert is_ours(connection, settings.model_copy(update=ANOTHER))
        assert not is_ours(connection, settings.model_copy(update=OFF))

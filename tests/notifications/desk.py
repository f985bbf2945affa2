"""A person with browsers, and one process that sends them what happens."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.notifications import notices, subscriptions
from minitik_dagster.notifications.events import tell
from minitik_dagster.notifications.preferences import (
    Preferences,
    QuietHours,
    write_preferences,
)
from minitik_dagster.notifications.push import PushSender
from minitik_dagster.notifications.sender import NoticeSender
from minitik_dagster.settings import Settings
from tests.api.scene import Scene
from tests.notifications.browser import PRIVATE_KEY, PUBLIC_KEY, SUBJECT, Browser
from tests.notifications.recorder import Recorder

SETTINGS = Settings(
    nextauth_url="https://app.example.test",
    vapid_public_key=PUBLIC_KEY,
    vapid_private_key=SecretStr(PRIVATE_KEY),
    vapid_subject=SUBJECT,
)


VAULT = Vault([bytes(32)])
FAILED = {
    "publicationId": "p1", "platform": "tiktok",
    "error": {"code": "x", "reason": "the file is too long", "fix": "cut it"},
}  # fmt: skip


@dataclass
class Desk:
    """A person with browsers, and one process that sends."""

    scene: Scene
    mail: Recorder = field(default_factory=Recorder)
    settings: Settings = field(default_factory=lambda: SETTINGS)

    def __post_init__(self) -> None:
        self.person = self.scene.person(email="owner@example.test")
        self.content = self.scene.content(self.person, title="My day at the lake")

    def subscribe(self, url: str, browser: Browser) -> str:
        """One more browser of the person's."""
        given = browser.subscription(url)
        with Session(self.scene.engine) as session, session.begin():
            made = subscriptions.subscribe(
                session, self.person.id, endpoint=given["endpoint"], **given["keys"]
            )
            return made.id

    def wish(self, **wishes: Any) -> None:
        """Keep what the person wishes."""
        with Session(self.scene.engine) as session, session.begin():
            write_preferences(session, self.person.id, Preferences(**wishes))

    def tell(self, kind: str, **facts: Any) -> None:
        """Something happens to a post of theirs."""
        with Session(self.scene.engine) as session, session.begin():
            tell(session, self.person.id, kind, contentId=self.content, **facts)

    def queue(self, kind: str, **facts: Any) -> None:
        """Some notice to the person."""
        values = notices.notice(kind, userId=self.person.id, **facts)
        with self.scene.engine.begin() as connection:
            connection.execute(text(notices.QUEUE_NOTICE), values)

    def look(self) -> int:
        """One look at e-mails and one at push messages; how many rows were claimed."""
        sender = NoticeSender(self.scene.engine, self.settings, VAULT.open, lambda *_: self.mail)
        return sender.work() + PushSender(self.scene.engine, self.settings).work()

    def rows(self) -> list[dict[str, Any]]:
        """The rows for browsers."""
        return list(self.scene.rows("SELECT * FROM outbox WHERE kind = 'notice.push' ORDER BY id"))


def quiet_now() -> QuietHours:
    """Quiet hours in UTC that began two hours ago and last two more."""
    now = datetime.now(UTC)
    begin, end = (now + timedelta(hours=hours) for hours in (-2, 2))
    return QuietHours(time(begin.hour, begin.minute), time(end.hour, end.minute))

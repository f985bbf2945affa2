"""Web push: encrypted and signed as the RFCs say, once per event and browser, within a person's wishes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_engine
from minitik_dagster.local.ports import free_port
from minitik_dagster.notifications import notices, subscriptions
from minitik_dagster.notifications.catch_up import queue_published
from minitik_dagster.notifications.events import PUBLICATION_FAILED, PUBLICATION_PUBLISHED, tell
from minitik_dagster.notifications.kinds import Channel, Kind
from minitik_dagster.notifications.preferences import (
    KINDS,
    Preferences,
    QuietHours,
    lock_preferences,
    quiet_end,
    read_preferences,
    write_preferences,
)
from minitik_dagster.notifications.push import PushSender
from minitik_dagster.notifications.reminders import remind
from minitik_dagster.notifications.sender import NoticeSender
from minitik_dagster.notifications.texts import TEXTS
from minitik_dagster.notifications.web_push import encrypted
from minitik_dagster.settings import Settings
from tests.api.scene import Scene
from tests.notifications.browser import PRIVATE_KEY, PUBLIC_KEY, SUBJECT, Browser, assert_ours
from tests.notifications.receiver import Receiver, receiving
from tests.notifications.test_sender import Recorder

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


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    """A person, in a database of a sandbox: loopback may be sent to."""
    engine = make_engine(database_url, pool_size=10)
    yield Desk(Scene(engine))
    engine.dispose()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A push service."""
    with receiving() as made:
        made.answers = [201]
        yield made


def _quiet_now() -> QuietHours:
    """Quiet hours in UTC that began two hours ago and last two more."""
    now = datetime.now(UTC)
    begin, end = (now + timedelta(hours=hours) for hours in (-2, 2))
    return QuietHours(time(begin.hour, begin.minute), time(end.hour, end.minute))


def test_a_browser_reads_what_happened_and_knows_that_it_is_from_us(
    desk: Desk, receiver: Receiver
) -> None:
    """Decrypted and verified by the RFCs' own words; the row is done, and e-mail was not wanted."""
    browser = Browser()
    desk.subscribe(receiver.url, browser)
    desk.tell(PUBLICATION_PUBLISHED, platform="tiktok", permalink="https://t.example/v/1")
    assert desk.look() == 2
    [request] = receiver.requests
    assert_ours(request, receiver.url.rpartition("/")[0])
    assert request.headers["content-encoding"] == "aes128gcm"
    assert (request.headers["ttl"], request.headers["urgency"]) == ("86400", "normal")
    message = browser.read(request.body)
    assert message["title"] == "Published on TikTok: My day at the lake"
    assert (message["kind"], message["url"]) == ("content_published", "https://t.example/v/1")
    assert message["tag"] == f"content_published:{desk.content}"
    [row] = desk.rows()
    assert row["doneAt"] is not None
    assert message["id"] == row["id"]
    assert desk.mail.sent == []
    assert desk.look() == 0


def test_every_kind_has_its_words_for_a_browser(desk: Desk, receiver: Receiver) -> None:
    browser = Browser()
    desk.subscribe(receiver.url, browser)
    assert set(KINDS) == set(TEXTS) - {notices.SIGN_IN_LINK}
    assert set(KINDS.values()) == set(Kind)
    assert all(TEXTS[kind].brief for kind in KINDS)
    desk.tell(PUBLICATION_FAILED, **FAILED)
    desk.queue(
        notices.ANALYTICS_UPDATE, day="2026-05-05", views=1234, likes=7, comments=1, shares=0
    )
    desk.look()
    told = {one["kind"]: one for one in map(browser.read, (r.body for r in receiver.requests))}
    failed = told["publication_failed"]
    assert failed["title"] == "Not published on TikTok: My day at the lake"
    assert failed["body"] == "the file is too long. What helps: cut it."
    assert told["analytics_update"]["title"] == "Your posts on 2026-05-05: 1234 new views"
    assert {request.headers["urgency"] for request in receiver.requests} == {"high", "normal"}
    assert [to for to, _, _ in desk.mail.sent] == ["owner@example.test"], (
        "a failure comes by mail too"
    )


def test_each_browser_is_told_once_though_many_send(desk: Desk, receiver: Receiver) -> None:
    """Twelve events, three browsers, six senders at once: 36 messages, none of them twice."""
    browsers = [Browser() for _ in range(3)]
    for number, browser in enumerate(browsers):
        desk.subscribe(f"{receiver.url}&browser={number}", browser)
    for number in range(12):
        desk.tell(PUBLICATION_PUBLISHED, platform="youtube", publicationId=f"p{number}")

    def drain(_: int) -> None:
        while desk.look():
            pass

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(drain, range(6)))
    told = [
        browsers[int(request.path[-1])].read(request.body)["id"] for request in receiver.requests
    ]
    assert len(told) == len(set(told)) == 36


@pytest.mark.parametrize("status", [404, 410])
def test_a_subscription_that_has_ended_is_removed_and_the_others_are_told(
    desk: Desk, receiver: Receiver, status: int
) -> None:
    live = Browser()
    with receiving() as dead:
        dead.answers = [status]
        desk.subscribe(dead.url, Browser())
        kept = desk.subscribe(receiver.url, live)
        desk.tell(PUBLICATION_FAILED, **FAILED)
        desk.look()
        assert len(dead.requests) == 1
        [row] = desk.scene.rows("SELECT id FROM notification_subscriptions")
        assert row["id"] == kept
        assert live.read(receiver.requests[0].body)["kind"] == "publication_failed"
        assert all(row["doneAt"] for row in desk.rows())
        desk.tell(PUBLICATION_FAILED, **FAILED)
        desk.look()
        assert len(dead.requests) == 1


def test_a_service_that_is_busy_or_down_is_tried_again_and_nothing_is_lost(
    desk: Desk, receiver: Receiver
) -> None:
    """Retry-After is kept to; a dead server is another try; the message keeps its id."""
    browser = Browser()
    receiver.answers = [429, 500, 201]
    receiver.headers = {"Retry-After": "120"}
    desk.subscribe(receiver.url, browser)
    desk.tell(PUBLICATION_PUBLISHED, platform="tiktok")
    desk.look()
    [row] = desk.rows()
    assert row["doneAt"] is None
    assert row["error"] == "the push service answered 429"
    [left] = desk.scene.rows(
        "SELECT \"dueAt\" - (now() AT TIME ZONE 'UTC') > interval '100 seconds' AS late FROM outbox "
        "WHERE kind = 'notice.push'"
    )
    assert left["late"]
    for _ in range(2):
        desk.scene.run('UPDATE outbox SET "dueAt" = "createdAt"')
        desk.look()
    assert {browser.read(request.body)["id"] for request in receiver.requests} == {row["id"]}
    assert desk.rows()[0]["doneAt"] is not None
    desk.scene.run(
        "UPDATE notification_subscriptions SET endpoint = :url",
        url=f"http://127.0.0.1:{free_port()}/",
    )
    desk.tell(PUBLICATION_PUBLISHED, platform="tiktok")
    desk.look()
    [waiting] = [row for row in desk.rows() if row["doneAt"] is None]
    assert "could not be reached" in waiting["error"]
    desk.scene.run(
        'UPDATE outbox SET "createdAt" = "createdAt" - interval \'25 hours\', "dueAt" = "createdAt"'
    )
    desk.look()
    assert [row["error"] for row in desk.rows() if row["doneAt"]][-1] is not None
    assert not [row for row in desk.rows() if row["doneAt"] is None], "given up after a day"


def test_a_process_that_dies_before_it_sends_leaves_it_to_the_next(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DeadError(BaseException):
        """The process ends here."""

    def die(*_: object) -> None:
        raise DeadError

    desk.subscribe(receiver.url, Browser())
    desk.tell(PUBLICATION_PUBLISHED, platform="tiktok")
    with monkeypatch.context() as patch:
        patch.setattr(PushSender, "_message", die)
        with pytest.raises(DeadError):
            desk.look()
    assert desk.look() == 0, "it is claimed for a minute"
    desk.scene.run('UPDATE outbox SET "dueAt" = "createdAt"')
    assert desk.look() == 1
    assert len(receiver.requests) == 1


def test_an_address_that_is_not_public_is_not_sent_to(desk: Desk, receiver: Receiver) -> None:
    """In a live database loopback is refused at each message, whatever was stored."""
    desk.scene.run("""UPDATE settings SET value = '"live"' WHERE key = 'world'""")
    desk.subscribe(receiver.url, Browser())
    desk.tell(PUBLICATION_FAILED, **FAILED)
    desk.look()
    assert receiver.requests == []
    [row] = desk.rows()
    assert row["doneAt"] is not None
    assert row["error"] == "http://127.0.0.1 is not https"
    assert "sesame" not in str(row)


def test_what_is_not_wished_is_not_sent(desk: Desk, receiver: Receiver) -> None:
    """By kind and channel; the wish of the moment counts, also for what waits already."""
    desk.subscribe(receiver.url, Browser())
    off = {Kind.PUBLICATION_FAILED: {Channel.EMAIL: False, Channel.PUSH: True}}
    desk.wish(choices=off)
    desk.tell(PUBLICATION_FAILED, **FAILED)
    sender = NoticeSender(desk.scene.engine, SETTINGS, VAULT.open, lambda *_: desk.mail)
    assert sender.work() == 1
    assert len(desk.rows()) == 1
    none = {kind: {Channel.EMAIL: False, Channel.PUSH: False} for kind in Kind}
    desk.wish(choices=none)
    desk.look()
    assert (receiver.requests, desk.mail.sent) == ([], [])
    assert desk.rows()[0]["error"] == "not wanted by push"


def test_a_published_post_comes_by_mail_alone_to_whom_it_is_wanted_so(desk: Desk) -> None:
    """From the wish on, once; without it, and without a browser, not even a row is written."""
    desk.tell(PUBLICATION_PUBLISHED, platform="tiktok")
    assert desk.scene.rows("SELECT 1 FROM outbox") == []
    desk.wish(choices={Kind.CONTENT_PUBLISHED: {Channel.EMAIL: True}})
    desk.tell(PUBLICATION_PUBLISHED, platform="tiktok", permalink="https://t.example/v/1")
    with Session(desk.scene.engine) as session, session.begin():
        assert queue_published(session) == 1
        assert queue_published(session) == 0
    assert desk.look() == 1
    [(_, subject, body)] = desk.mail.sent
    assert subject == "Published on TikTok: My day at the lake"
    assert "https://t.example/v/1" in body
    desk.tell(PUBLICATION_PUBLISHED, platform="tiktok", permalink="https://t.example/v/2")
    with Session(desk.scene.engine) as session, session.begin():
        lock_preferences(session, desk.person.id)
        write_preferences(session, desk.person.id, Preferences())
        assert queue_published(session) == 0
    assert len(desk.scene.rows("SELECT 1 FROM outbox")) == 2, "by the wish of its time"
    desk.look()
    assert len(desk.mail.sent) == 1, "and by that of now"


def test_what_falls_into_quiet_hours_comes_at_their_end(desk: Desk, receiver: Receiver) -> None:
    """Both channels are held, none is dropped, and a day of trying begins after the hold."""
    browser = Browser()
    desk.subscribe(receiver.url, browser)
    both = {Kind.CONTENT_PUBLISHED: {Channel.EMAIL: True}}
    desk.wish(quiet=_quiet_now(), choices=both)
    desk.tell(PUBLICATION_PUBLISHED, platform="tiktok")
    assert desk.look() == 2
    assert (receiver.requests, desk.mail.sent) == ([], [])
    held = desk.scene.rows('SELECT "dueAt" AS due, payload, error, "doneAt" AS done FROM outbox')
    ends = [datetime.fromisoformat(row["payload"]["heldUntil"]) for row in held]
    assert len(ends) == 2
    for row, end in zip(held, ends, strict=True):
        assert (row["due"].replace(tzinfo=UTC), row["error"], row["done"]) == (end, None, None)
        assert timedelta(hours=1, minutes=58) < end - datetime.now(UTC) <= timedelta(hours=2)
    desk.wish(choices=both)
    earlier = (datetime.now(UTC) - timedelta(minutes=1)).isoformat().replace("+00:00", "Z")
    desk.scene.run(
        'UPDATE outbox SET "dueAt" = "createdAt", "createdAt" = "createdAt" - interval \'26 hours\', '
        "payload = payload || jsonb_build_object('heldUntil', CAST(:until AS text))",
        until=earlier,
    )
    desk.look()
    assert browser.read(receiver.requests[0].body)["kind"] == "content_published"
    assert len(desk.mail.sent) == 1
    assert all(row["done"] for row in desk.scene.rows('SELECT "doneAt" AS done FROM outbox'))


def test_a_failure_passes_through_quiet_hours_unless_its_person_says_otherwise(
    desk: Desk, receiver: Receiver
) -> None:
    desk.subscribe(receiver.url, Browser())
    desk.wish(quiet=_quiet_now())
    desk.tell(PUBLICATION_FAILED, **FAILED)
    desk.look()
    assert (len(receiver.requests), len(desk.mail.sent)) == (1, 1)
    desk.queue(notices.ACCOUNT_DISCONNECTED, platform="tiktok", reason="gone", status="REVOKED")
    desk.look()
    assert (len(receiver.requests), len(desk.mail.sent)) == (1, 1), "this waits"
    desk.wish(quiet=_quiet_now(), urgent_passes=False)
    desk.tell(PUBLICATION_FAILED, **FAILED)
    desk.look()
    assert (len(receiver.requests), len(desk.mail.sent)) == (1, 1)


@pytest.mark.parametrize(
    ("zone", "start", "end", "now", "until"),
    [
        ("Europe/Lisbon", "22:00", "07:00", "2026-05-05T21:00Z", "2026-05-06T06:00Z"),
        ("Europe/Lisbon", "22:00", "07:00", "2026-05-06T05:59Z", "2026-05-06T06:00Z"),
        ("Europe/Lisbon", "22:00", "07:00", "2026-05-06T06:00Z", None),
        ("Europe/Lisbon", "22:00", "07:00", "2026-05-05T20:59Z", None),
        ("Asia/Kathmandu", "13:00", "14:00", "2026-05-05T07:30Z", "2026-05-05T08:15Z"),
        # Berlin's clocks go forward at 02:00 on 29 March 2026: 02:30 is read as 03:30 summer time.
        ("Europe/Berlin", "23:00", "02:30", "2026-03-29T00:30Z", "2026-03-29T01:30Z"),
        # And back at 03:00 on 25 October: the first 02:30 ends them.
        ("Europe/Berlin", "23:00", "02:30", "2026-10-25T00:10Z", "2026-10-25T00:30Z"),
        ("Europe/Berlin", "23:00", "02:30", "2026-10-25T01:10Z", None),
        ("No/Such", "22:00", "07:00", "2026-05-05T23:00Z", "2026-05-06T07:00Z"),
    ],
)
def test_quiet_hours_are_wall_time_in_the_persons_zone(
    zone: str, start: str, end: str, now: str, until: str | None
) -> None:
    """Over midnight and over a change of clocks; an unknown zone reads as UTC."""
    quiet = QuietHours(time.fromisoformat(start), time.fromisoformat(end))
    found = quiet_end(quiet, zone, datetime.fromisoformat(now))
    assert found == (datetime.fromisoformat(until) if until else None)


def test_wishes_are_kept_as_what_differs_from_the_defaults(desk: Desk) -> None:
    wishes = Preferences(
        choices={Kind.ANALYTICS_UPDATE: {Channel.PUSH: False, Channel.EMAIL: False}},
        timezone="Asia/Tokyo",
        quiet=QuietHours(time(22), time(7)),
        urgent_passes=False,
        reminder_minutes=30,
    )
    with Session(desk.scene.engine) as session, session.begin():
        write_preferences(session, desk.person.id, wishes)
        found = read_preferences(session, desk.person.id)
    assert replace(found, choices={}) == replace(wishes, choices={})
    assert found.choices == {Kind.ANALYTICS_UPDATE: {Channel.PUSH: False}}
    assert not found.wants(Kind.ANALYTICS_UPDATE, Channel.EMAIL)


def _job(desk: Desk, minutes: int, *, made: str = "1 day") -> str:
    """A job of the person's, so many minutes ahead, made so long ago."""
    job = f"j{minutes}{made}".replace(" ", "")
    desk.scene.run(
        'INSERT INTO scheduled_jobs (id, "contentId", "scheduledAt", timezone, priority, status, '
        'attempts, "maxAttempts", "createdAt", "updatedAt") SELECT :id, :content, n + '
        "make_interval(mins => :minutes), 'Europe/Lisbon', 'NORMAL', 'PENDING', 0, 3, "
        "n - CAST(:made AS interval), n FROM (SELECT now() AT TIME ZONE 'UTC' AS n) t",
        id=job, content=desk.content, minutes=minutes, made=made,
    )  # fmt: skip
    return job


def _remind(desk: Desk) -> int:
    with desk.scene.engine.begin() as connection:
        return remind(connection)


def test_a_scheduled_post_is_reminded_of_once_in_its_own_zones_time(
    desk: Desk, receiver: Receiver
) -> None:
    """An hour before unless its person says otherwise; moved it is another reminder."""
    browser = Browser()
    job = _job(desk, 50)
    assert _remind(desk) == 0, "no browser, and e-mail was not asked for"
    desk.subscribe(receiver.url, browser)
    _job(desk, 70)
    _job(desk, 40, made="0 minutes")
    assert _remind(desk) == 1
    assert _remind(desk) == 0
    desk.look()
    message = browser.read(receiver.requests[0].body)
    [row] = desk.scene.rows('SELECT "scheduledAt" AS at FROM scheduled_jobs WHERE id = :id', id=job)
    local = row["at"].replace(tzinfo=UTC).astimezone(ZoneInfo("Europe/Lisbon"))
    assert message["body"].startswith(f"At {local:%H:%M} on {local:%A}")
    assert message["title"] == "Soon: My day at the lake"
    desk.wish(reminder_minutes=120)
    assert _remind(desk) == 1, "the one in 70 minutes"
    desk.scene.run(
        'UPDATE scheduled_jobs SET "scheduledAt" = "scheduledAt" + interval \'5 minutes\' '
        "WHERE id = :id",
        id=job,
    )
    assert _remind(desk) == 1


def test_a_reminder_of_a_post_that_is_not_ahead_any_more_is_not_sent(
    desk: Desk, receiver: Receiver
) -> None:
    """Cancelled or moved before it left, or held by quiet hours beyond the post's own instant."""
    desk.subscribe(receiver.url, Browser())
    job = _job(desk, 50)
    desk.wish(quiet=_quiet_now())
    assert _remind(desk) == 1
    desk.look()
    assert receiver.requests == []
    desk.scene.run('UPDATE outbox SET "dueAt" = "createdAt"')
    desk.wish()
    desk.scene.run("UPDATE scheduled_jobs SET status = 'CANCELLED' WHERE id = :id", id=job)
    desk.look()
    assert receiver.requests == []
    assert desk.rows()[0]["error"] == "its post is not ahead any more"


def test_a_text_that_is_too_long_for_a_push_service_is_shortened() -> None:
    """4,096 bytes are all that a service must take; a cut does not split a character."""
    browser = Browser()
    given = browser.subscription("")["keys"]
    for body in ("é" * 3000, "é" * 3001, "x" * 5000):
        message = {"id": "1", "title": "T", "body": body}
        read = browser.read(encrypted(message, **given))
        assert read["title"] == "T"
        assert read["body"].endswith("…")
        assert len(read["body"]) > 1900


def test_keys_that_are_none_are_removed(desk: Desk, receiver: Receiver) -> None:
    """As a row of the old system may hold."""
    desk.scene.run(
        'INSERT INTO notification_subscriptions (id, "userId", endpoint, p256dh, auth, "createdAt") '
        "VALUES ('n1', :id, :url, 'p', 'k', now())",
        id=desk.person.id,
        url=receiver.url,
    )
    desk.tell(PUBLICATION_FAILED, **FAILED)
    desk.look()
    assert receiver.requests == []
    assert desk.scene.rows("SELECT 1 FROM notification_subscriptions") == []


def test_without_vapid_keys_nothing_is_queued_for_browsers(desk: Desk, receiver: Receiver) -> None:
    desk.subscribe(receiver.url, Browser())
    desk.settings = Settings(nextauth_url="https://app.example.test")
    desk.tell(PUBLICATION_FAILED, **FAILED)
    assert desk.look() == 1
    assert desk.rows() == []
    assert len(desk.mail.sent) == 1

"""Web push: encrypted and signed as the RFCs say, once per event and browser."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from minitik_dagster.local.ports import free_port
from minitik_dagster.notifications import notices
from minitik_dagster.notifications.events import PUBLICATION_FAILED, PUBLICATION_PUBLISHED
from minitik_dagster.notifications.kinds import Kind
from minitik_dagster.notifications.preferences import (
    KINDS,
)
from minitik_dagster.notifications.push import PushSender
from minitik_dagster.notifications.texts import TEXTS
from minitik_dagster.notifications.web_push import encrypted
from minitik_dagster.settings import Settings
from tests.notifications.browser import Browser, assert_ours
from tests.notifications.desk import FAILED, Desk
from tests.notifications.receiver import Receiver, receiving


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

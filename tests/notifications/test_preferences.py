"""What a person wishes: kinds, channels and quiet hours, by e-mail and by push."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from sqlalchemy.orm import Session

from minitik_dagster.notifications import notices
from minitik_dagster.notifications.catch_up import queue_published
from minitik_dagster.notifications.events import PUBLICATION_FAILED, PUBLICATION_PUBLISHED
from minitik_dagster.notifications.kinds import Channel, Kind
from minitik_dagster.notifications.preferences import (
    Preferences,
    QuietHours,
    lock_preferences,
    quiet_end,
    read_preferences,
    write_preferences,
)
from minitik_dagster.notifications.sender import NoticeSender
from tests.notifications.browser import Browser
from tests.notifications.desk import FAILED, SETTINGS, VAULT, Desk, quiet_now
from tests.notifications.receiver import Receiver


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
    desk.wish(quiet=quiet_now(), choices=both)
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
    desk.wish(quiet=quiet_now())
    desk.tell(PUBLICATION_FAILED, **FAILED)
    desk.look()
    assert (len(receiver.requests), len(desk.mail.sent)) == (1, 1)
    desk.queue(notices.ACCOUNT_DISCONNECTED, platform="tiktok", reason="gone", status="REVOKED")
    desk.look()
    assert (len(receiver.requests), len(desk.mail.sent)) == (1, 1), "this waits"
    desk.wish(quiet=quiet_now(), urgent_passes=False)
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

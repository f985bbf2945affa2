"""Reminders of posts that are soon to go out."""

from datetime import UTC
from zoneinfo import ZoneInfo

from minitik_dagster.notifications.reminders import remind
from tests.notifications.browser import Browser
from tests.notifications.desk import Desk, quiet_now
from tests.notifications.receiver import Receiver


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
    desk.wish(quiet=quiet_now())
    assert _remind(desk) == 1
    desk.look()
    assert receiver.requests == []
    desk.scene.run('UPDATE outbox SET "dueAt" = "createdAt"')
    desk.wish()
    desk.scene.run("UPDATE scheduled_jobs SET status = 'CANCELLED' WHERE id = :id", id=job)
    desk.look()
    assert receiver.requests == []
    assert desk.rows()[0]["error"] == "its post is not ahead any more"

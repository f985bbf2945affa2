"""One dispatcher, real servers: posts travel from scheduled to live, or end with their reason."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import Platform, PublicationStatus
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.settings import Settings
from tests.publishing.running import all_at, run_until

ALL = tuple(Platform)


def steps_of(bench: Workbench, publication_id: str) -> list[dict[str, Any]]:
    sql = (
        'SELECT name, outcome, "canPublish", "endedAt", "platformCode" FROM publication_steps '
        'WHERE "publicationId" = :id ORDER BY "startedAt", id'
    )
    with bench.engine.connect() as connection:
        return [
            dict(row) for row in connection.execute(text(sql), {"id": publication_id}).mappings()
        ]


def only(bench: Workbench, ids: list[str]) -> Publication:
    (row,) = bench.rows(ids)
    return row


@pytest.mark.parametrize("size", [pytest.param(300_000, marks=pytest.mark.slow), 11_500_000])
def test_a_post_goes_live_on_all_three_platforms_at_its_instant(
    workbench: Workbench, size: int
) -> None:
    """Each platform shows the same bytes exactly once, never early, and the rows say so."""
    accounts = [(workbench.add_account(platform), platform) for platform in ALL]
    video = workbench.add_video(size)
    due_at = workbench.now() + timedelta(seconds=6)
    ids = workbench.schedule(video, accounts, due_at)
    summary = run_until(workbench, ids, all_at("live"))
    rows = workbench.rows(ids)
    assert {row.status for row in rows} == {PublicationStatus.PUBLISHED}
    posts = workbench.public_posts(video)
    assert sorted(post["platform"] for post in posts) == ["instagram", "tiktok", "youtube"]
    for row in rows:
        assert row.committed_at is not None
        late = row.committed_at - due_at
        assert timedelta(0) <= late < timedelta(seconds=5), late
        assert row.accepted_at is not None
        assert row.verified_at is not None
        assert row.lease_owner is None
    assert summary["lateness_ms"]["count"] == 3


@pytest.mark.slow
def test_the_content_and_the_job_are_done_when_all_publications_are(workbench: Workbench) -> None:
    """Roll-up: PUBLISHED and COMPLETED only once every publication is live."""
    accounts = [(workbench.add_account(platform), platform) for platform in ALL]
    video = workbench.add_video()
    ids = workbench.schedule(video, accounts, workbench.now() + timedelta(seconds=4))
    run_until(workbench, ids, all_at("live"))
    with workbench.engine.connect() as connection:
        content = connection.execute(
            text("SELECT status FROM contents WHERE id = :id"), {"id": video.content_id}
        ).scalar_one()
        job = connection.execute(
            text('SELECT status FROM scheduled_jobs WHERE "contentId" = :id'),
            {"id": video.content_id},
        ).scalar_one()
    assert (content, job) == ("PUBLISHED", "COMPLETED")


@pytest.mark.slow
def test_every_step_is_in_the_ledger_and_only_the_commit_can_publish(workbench: Workbench) -> None:
    """Written ahead and ended: no step is open afterwards, one commit succeeded."""
    account = workbench.add_account(Platform.TIKTOK)
    video = workbench.add_video(11_500_000)
    ids = workbench.schedule(
        video, [(account, Platform.TIKTOK)], workbench.now() + timedelta(seconds=4)
    )
    run_until(workbench, ids, all_at("live"))
    steps = steps_of(workbench, ids[0])
    assert [step["name"] for step in steps] == ["init", "upload", "commit"]
    assert [step["canPublish"] for step in steps] == [False, False, True]
    assert all(step["endedAt"] is not None and step["outcome"] == "ok" for step in steps)


def test_a_final_refusal_ends_in_a_dead_letter_with_reason_and_fix(workbench: Workbench) -> None:
    """Rejected: FAILED at once, nothing public, the platform's code kept, content FAILED."""
    account = workbench.add_account(Platform.TIKTOK)
    video = workbench.add_video()
    ids = workbench.schedule(
        video,
        [(account, Platform.TIKTOK)],
        workbench.now() + timedelta(seconds=4),
        options={"privacy": "FOLLOWER_OF_CREATOR"},
    )
    run_until(workbench, ids, all_at("failed"))
    row = only(workbench, ids)
    assert row.status is PublicationStatus.FAILED
    assert row.error
    assert row.error_fix
    assert workbench.public_posts(video) == []
    with workbench.engine.connect() as connection:
        letters = connection.execute(
            text('SELECT code, reason, fix FROM dead_letters WHERE "publicationId" = :id'),
            {"id": row.id},
        ).all()
    assert [(letter.code, bool(letter.fix)) for letter in letters] == [(row.error_code, True)]


def test_a_post_later_than_its_max_lateness_is_never_sent(workbench: Workbench) -> None:
    """Too late fails with that reason and asks the platform nothing."""
    account = workbench.add_account(Platform.YOUTUBE)
    video = workbench.add_video()
    ids = workbench.schedule(
        video,
        [(account, Platform.YOUTUBE)],
        workbench.now() - timedelta(minutes=10),
        max_lateness=60,
    )
    run_until(workbench, ids, all_at("failed"))
    assert only(workbench, ids).error_code == "too_late"
    assert steps_of(workbench, ids[0]) == []


def test_a_post_that_is_late_but_allowed_goes_out_at_once(workbench: Workbench) -> None:
    """A dispatcher that comes back after an outage sends what is late, once."""
    account = workbench.add_account(Platform.INSTAGRAM)
    video = workbench.add_video()
    ids = workbench.schedule(
        video, [(account, Platform.INSTAGRAM)], workbench.now() - timedelta(minutes=10)
    )
    run_until(workbench, ids, all_at("live"))
    assert len(workbench.public_posts(video)) == 1


def test_posts_of_a_disconnected_account_are_held_and_not_failed(workbench: Workbench) -> None:
    """Held = QUEUED with the reason; nothing is sent."""
    account = workbench.add_account(Platform.YOUTUBE)
    video = workbench.add_video()
    with workbench.engine.begin() as connection:
        connection.execute(
            text("UPDATE accounts SET status = 'EXPIRED' WHERE id = :id"), {"id": account}
        )
    ids = workbench.schedule(
        video, [(account, Platform.YOUTUBE)], workbench.now() + timedelta(seconds=1)
    )
    run_until(workbench, ids, all_at("held"))
    row = only(workbench, ids)
    assert row.status is PublicationStatus.QUEUED
    assert row.hold_reason
    assert steps_of(workbench, ids[0]) == []


@pytest.mark.slow
@pytest.mark.parametrize("platform", [Platform.TIKTOK, Platform.YOUTUBE])
def test_an_expired_token_is_refreshed_once_and_the_post_goes_out(
    workbench: Workbench, platform: Platform
) -> None:
    """AuthExpired is a definite refusal: refresh outside the step, go on."""
    account = workbench.add_account(platform, expiresIn=1)
    video = workbench.add_video()
    ids = workbench.schedule(video, [(account, platform)], workbench.now() + timedelta(seconds=5))
    run_until(workbench, ids, all_at("live"))
    assert len(workbench.public_posts(video)) == 1
    refreshed = [call for call in workbench.sandbox.calls() if call["operation"] == "token"]
    assert len(refreshed) == 1


@pytest.mark.slow
def test_two_posts_of_one_instagram_account_at_one_instant_go_one_after_the_other(
    workbench: Workbench,
) -> None:
    """One open commit per Instagram account; both are public in the end."""
    account = workbench.add_account(Platform.INSTAGRAM)
    videos = [workbench.add_video(), workbench.add_video()]
    due_at = workbench.now() + timedelta(seconds=5)
    ids = workbench.schedule_many(
        [(video, [(account, Platform.INSTAGRAM)], due_at) for video in videos]
    )
    run_until(workbench, ids, all_at("live"))
    assert [len(workbench.public_posts(video)) for video in videos] == [1, 1]


@pytest.mark.slow
def test_a_row_edited_while_it_is_held_is_never_published_from_the_old_copy(
    workbench: Workbench,
) -> None:
    """R6: the commit compares the revision under the row lock; a new handle carries the new caption."""
    account = workbench.add_account(Platform.TIKTOK)
    video = workbench.add_video()
    ids = workbench.schedule(
        video, [(account, Platform.TIKTOK)], workbench.now() + timedelta(seconds=7)
    )
    edited = False

    def edit_once() -> None:
        nonlocal edited
        if not edited and only(workbench, ids).stage == "prepared":
            with workbench.engine.begin() as connection:
                connection.execute(
                    text(
                        "UPDATE publications SET revision = revision + 1, stage = 'scheduled', "
                        '"leaseOwner" = NULL, "leaseExpiresAt" = NULL, '
                        "options = jsonb_set(options, '{caption}', '\"The new caption\"') "
                        "WHERE id = :id"
                    ),
                    {"id": ids[0]},
                )
            edited = True

    run_until(workbench, ids, all_at("live"), meanwhile=edit_once)
    assert edited
    assert [post["caption"] for post in workbench.public_posts(video)] == ["The new caption"]


@pytest.mark.slow
@pytest.mark.parametrize("zone", ["America/St_Johns", "Pacific/Kiritimati"])
def test_a_connections_time_zone_moves_no_instant(workbench: Workbench, zone: str) -> None:
    """engine.md R10: `now()` compared with timestamp(3) would follow the role's TimeZone."""
    with workbench.engine.connect() as connection:
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        connection.execute(text(f"ALTER DATABASE \"{name}\" SET TimeZone = '{zone}'"))
        connection.commit()
    workbench.engine.dispose()
    account = workbench.add_account(Platform.YOUTUBE)
    soon, later = workbench.add_video(), workbench.add_video()
    now = workbench.now()
    due_at = now + timedelta(seconds=4)
    ids = workbench.schedule(soon, [(account, Platform.YOUTUBE)], due_at)
    far = workbench.schedule(later, [(account, Platform.YOUTUBE)], now + timedelta(hours=2))
    run_until(workbench, ids, all_at("live"))
    row = only(workbench, ids)
    assert row.committed_at is not None
    assert timedelta(0) <= row.committed_at - due_at < timedelta(seconds=5)
    assert only(workbench, far).stage == "scheduled"


@pytest.mark.slow
def test_a_post_prepared_long_ahead_is_handed_back_and_still_goes_out_at_its_instant(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between preparation and the hold nobody has its lease; the same handles are committed."""
    monkeypatch.setenv("MINITIK_HOLD_SECONDS", "5")
    workbench.settings = Settings()
    accounts = [(workbench.add_account(platform), platform) for platform in ALL]
    video = workbench.add_video(11_500_000)
    due_at = workbench.now() + timedelta(seconds=22)
    ids = workbench.schedule(video, accounts, due_at)
    handed_back = False

    def look() -> None:
        nonlocal handed_back
        rows = workbench.rows(ids)
        handed_back |= all(row.stage == "prepared" and row.lease_owner is None for row in rows)

    run_until(workbench, ids, all_at("live"), meanwhile=look)
    assert handed_back
    assert len(workbench.public_posts(video)) == 3
    for row in workbench.rows(ids):
        assert row.committed_at is not None
        assert timedelta(0) <= row.committed_at - due_at < timedelta(seconds=5)
        names = [step["name"] for step in steps_of(workbench, row.id)]
        assert len(names) == len(set(names)), "nothing was prepared twice"

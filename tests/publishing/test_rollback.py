"""Rollback: deleted where the platform can, told where it cannot, safe to repeat and to interrupt."""

import multiprocessing
import os
import signal
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.models import Content, Publication
from minitik_dagster.db.types import ContentStatus, Platform
from minitik_dagster.errors import NotFoundError, StateConflictError
from minitik_dagster.local.workbench import Video, Workbench
from minitik_dagster.publishing.rollback import Outcome, RolledBack, RolledBackPost, roll_back
from minitik_dagster.scheduling.duplicates import duplicates
from minitik_dagster.settings import Settings
from tests.publishing.running import all_at, run_until
from tests.publishing.test_outbox import deletions, message_done, rows, wait_until

pytestmark = pytest.mark.slow

YOUTUBE = Platform.YOUTUBE


def rolled_back(bench: Workbench, content_id: str, user_id: str | None = None) -> RolledBack:
    return roll_back(
        bench.engine, bench.settings, user_id or bench.user_id, content_id, actor="a test"
    )


def by_platform(done: RolledBack) -> dict[str, RolledBackPost]:
    return {post.platform.value.lower(): post for post in done.publications}


def live_on(bench: Workbench, *platforms: Platform) -> tuple[Video, list[str]]:
    accounts = [(bench.add_account(platform), platform) for platform in platforms]
    video = bench.add_video()
    ids = bench.schedule(video, accounts, bench.now() + timedelta(seconds=4))
    run_until(bench, ids, _live_with_its_id)
    return video, ids


def _live_with_its_id(publications: list[Publication]) -> bool:
    known = all(row.platform_post_id is not None for row in publications)
    return known and all_at("live")(publications)


def public_on(bench: Workbench, video: Video) -> list[str]:
    return sorted(post["platform"] for post in bench.public_posts(video))


def test_what_can_be_deleted_is_and_the_rest_is_told_with_its_link(workbench: Workbench) -> None:
    """YouTube: gone. TikTok and Instagram: PUBLISHED still, blocking, with what a person must do."""
    video, ids = live_on(workbench, *Platform)

    done = rolled_back(workbench, video.content_id)

    assert done.status is ContentStatus.DRAFT
    posts = by_platform(done)
    assert {name: post.outcome.value for name, post in posts.items()} == {
        "youtube": "deleted",
        "tiktok": "manual",
        "instagram": "manual",
    }
    assert posts["youtube"].instruction is None
    for name in ("tiktok", "instagram"):
        link = posts[name].permalink
        assert link is not None
        assert link in (posts[name].instruction or "")
    assert public_on(workbench, video) == ["instagram", "tiktok"]
    stages = {row.platform.value.lower(): row for row in workbench.rows(ids)}
    assert {name: row.stage for name, row in stages.items()} == {
        "youtube": "removed",
        "tiktok": "live",
        "instagram": "live",
    }
    assert all(row.rolled_back_at is not None for row in stages.values())
    assert {row.status.value for row in stages.values()} == {"PUBLISHED"}
    assert all(row.lease_owner is None for row in stages.values())
    steps = rows(workbench, "SELECT outcome FROM publication_steps WHERE name = 'delete'")
    assert steps == [{"outcome": "ok"}]

    since = {row.id: row.rolled_back_at for row in stages.values()}
    again = rolled_back(workbench, video.content_id)
    assert {name: post.outcome for name, post in by_platform(again).items()} == {
        name: post.outcome for name, post in posts.items()
    }
    assert again.status is ContentStatus.DRAFT
    assert {row.id: row.rolled_back_at for row in workbench.rows(ids)} == since
    assert deletions(workbench) == [204]
    [told, _] = rows(workbench, "SELECT actor, detail FROM audit_log ORDER BY at")
    assert told["actor"] == "a test"
    assert set(told["detail"].values()) == {"deleted", "manual"}

    accounts = [row.account_id for row in stages.values()]
    with Session(workbench.engine) as session:
        content = session.get_one(Content, video.content_id)
        # A year later still: it is public, whatever the window.
        rows(workbench, "UPDATE publications SET \"committedAt\" = '2025-01-01'")
        found = duplicates(session, content, accounts, {}, workbench.now())
    assert sorted(problem.message.rsplit("on ")[1].split()[0] for problem in found) == [
        "INSTAGRAM",
        "TIKTOK",
    ]


def test_what_was_not_sent_is_cancelled_and_its_private_video_deleted(workbench: Workbench) -> None:
    """One post live, one prepared for later: the first is deleted, the second never goes out."""
    video, live = live_on(workbench, YOUTUBE)
    account = workbench.add_account(YOUTUBE)
    later = workbench.schedule(video, [(account, YOUTUBE)], workbench.now() + timedelta(minutes=10))
    run_until(workbench, later, all_at("prepared"))

    done = rolled_back(workbench, video.content_id)

    outcomes = {post.id: post.outcome for post in done.publications}
    assert outcomes == {live[0]: Outcome.DELETED, later[0]: Outcome.CANCELLED}
    [cancelled] = [post for post in done.publications if post.id == later[0]]
    assert "private video is deleted" in (cancelled.instruction or "")
    assert done.status is ContentStatus.DRAFT
    run_until(workbench, later, message_done(workbench))
    assert deletions(workbench) == [204, 204]
    assert public_on(workbench, video) == []
    jobs = rows(workbench, 'SELECT status FROM scheduled_jobs ORDER BY "createdAt"')
    assert [job["status"] for job in jobs] == ["COMPLETED", "CANCELLED"]


def test_a_lost_answer_is_told_as_pending_and_a_repetition_ends_it(workbench: Workbench) -> None:
    """The platform deleted and its answer was lost: the row says live until it is asked again."""
    video, ids = live_on(workbench, YOUTUBE)
    workbench.sandbox.add_fault(platform="youtube", operation="delete", kind="drop-after", count=1)
    first = rolled_back(workbench, video.content_id)
    assert [post.outcome for post in first.publications] == [Outcome.PENDING]
    assert "again" in (first.publications[0].instruction or "")
    assert first.status is ContentStatus.PUBLISHED
    assert [row.stage for row in workbench.rows(ids)] == ["live"]

    second = rolled_back(workbench, video.content_id)
    assert [post.outcome for post in second.publications] == [Outcome.DELETED]
    assert second.status is ContentStatus.DRAFT
    outcomes = rows(
        workbench,
        "SELECT outcome FROM publication_steps WHERE name = 'delete' ORDER BY \"startedAt\"",
    )
    assert [row["outcome"] for row in outcomes] == ["transient", "ok"]


def test_a_token_that_is_refused_is_renewed_and_the_deletion_done(workbench: Workbench) -> None:
    """A 401 is a definite refusal: the step is closed, the token refreshed, a new step opened."""
    video, _ = live_on(workbench, YOUTUBE)
    workbench.sandbox.add_fault(
        platform="youtube", operation="delete", kind="status", status=401, count=1
    )
    done = rolled_back(workbench, video.content_id)
    assert [post.outcome for post in done.publications] == [Outcome.DELETED]
    outcomes = rows(
        workbench,
        "SELECT outcome FROM publication_steps WHERE name = 'delete' ORDER BY \"startedAt\"",
    )
    assert [row["outcome"] for row in outcomes] == ["auth_expired", "ok"]


def test_without_access_a_person_is_told_to_delete_by_hand(workbench: Workbench) -> None:
    """A revoked account: it stays PUBLISHED, with reason and link; after a reconnect it is deleted."""
    video, ids = live_on(workbench, YOUTUBE)
    rows(workbench, "UPDATE accounts SET status = 'REVOKED'")
    done = rolled_back(workbench, video.content_id)
    [post] = done.publications
    assert post.outcome is Outcome.MANUAL
    assert "reconnect" in (post.instruction or "")
    assert post.permalink is not None
    assert post.permalink in (post.instruction or "")
    assert [row.stage for row in workbench.rows(ids)] == ["live"]
    rows(workbench, "UPDATE accounts SET status = 'CONNECTED'")
    again = rolled_back(workbench, video.content_id)
    assert [post.outcome for post in again.publications] == [Outcome.DELETED]


def test_a_post_of_the_old_system_is_deleted_by_its_stored_id(workbench: Workbench) -> None:
    """No stage, no job, no due instant, no handle: the id that the old worker stored is enough."""
    video, ids = live_on(workbench, YOUTUBE)
    rows(workbench, 'UPDATE publication_steps SET "handleId" = NULL')
    rows(workbench, "DELETE FROM handles")
    rows(
        workbench,
        'UPDATE publications SET stage = NULL, "scheduledJobId" = NULL, "dueAt" = NULL, '
        "options = NULL, priority = NULL",
    )
    rows(workbench, "DELETE FROM scheduled_jobs")
    done = rolled_back(workbench, video.content_id)
    assert [post.outcome for post in done.publications] == [Outcome.DELETED]
    assert done.status is ContentStatus.DRAFT
    assert [row.stage for row in workbench.rows(ids)] == ["removed"]
    assert public_on(workbench, video) == []


def test_a_killed_rollback_goes_on_where_it_was(workbench: Workbench) -> None:
    """`kill -9` between the platform's deletion and the record: the intent stands, repeating ends it."""
    video, ids = live_on(workbench, YOUTUBE)
    workbench.sandbox.add_fault(
        platform="youtube", operation="delete", kind="delay", delayMs=8_000, count=1
    )
    spawn = multiprocessing.get_context("spawn")
    child = spawn.Process(
        target=_roll_back_elsewhere, args=(dict(os.environ), workbench.user_id, video.content_id)
    )
    child.start()
    wait_until(lambda: len(deletions(workbench)) == 1)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join(10)
    steps = rows(workbench, "SELECT outcome FROM publication_steps WHERE name = 'delete'")
    assert steps == [{"outcome": None}]
    with pytest.raises(StateConflictError, match="being rolled back"):
        rolled_back(workbench, video.content_id)
    workbench.sandbox.call("DELETE", "/_sandbox/faults")

    rows(workbench, "UPDATE publications SET \"leaseExpiresAt\" = '2026-01-01'")
    done = rolled_back(workbench, video.content_id)

    assert [post.outcome for post in done.publications] == [Outcome.DELETED]
    assert [row.stage for row in workbench.rows(ids)] == ["removed"]
    outcomes = rows(
        workbench,
        "SELECT outcome FROM publication_steps WHERE name = 'delete' ORDER BY \"startedAt\"",
    )
    assert [row["outcome"] for row in outcomes] == ["lost", "ok"]
    assert public_on(workbench, video) == []


@pytest.mark.parametrize(
    ("stage", "words"),
    [("committing", "being sent"), ("unknown", "being settled"), ("review", "person's review")],
)
def test_nothing_is_changed_while_a_post_is_being_sent(
    workbench: Workbench, stage: str, words: str
) -> None:
    """409 with the state; the content's other post is not cancelled either."""
    video = workbench.add_video()
    accounts = [(workbench.add_account(YOUTUBE), YOUTUBE) for _ in range(2)]
    ids = workbench.schedule(video, accounts, workbench.now() + timedelta(hours=1))
    rows(workbench, "UPDATE publications SET stage = :stage WHERE id = :id", stage=stage, id=ids[0])
    before = [vars_of(row) for row in workbench.rows(ids)]
    with pytest.raises(StateConflictError, match=words) as refused:
        rolled_back(workbench, video.content_id)
    assert refused.value.state == stage
    assert [vars_of(row) for row in workbench.rows(ids)] == before


def test_a_strangers_content_is_not_there_and_an_operators_is(workbench: Workbench) -> None:
    """Unknown and foreign ids look alike; the operator's command may take anybody's back."""
    video = workbench.add_video()
    ids = workbench.schedule(
        video, [(workbench.add_account(YOUTUBE), YOUTUBE)], workbench.now() + timedelta(hours=1)
    )
    with pytest.raises(NotFoundError):
        rolled_back(workbench, video.content_id, user_id="somebody")
    done = roll_back(workbench.engine, workbench.settings, None, video.content_id, actor="operator")
    assert [(post.id, post.outcome) for post in done.publications] == [(ids[0], Outcome.CANCELLED)]
    assert done.status is ContentStatus.DRAFT


def vars_of(row: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if not name.startswith("_")}


def _roll_back_elsewhere(environment: dict[str, str], user_id: str, content_id: str) -> None:
    """Run in a process of its own, that the test kills."""
    os.environ.update(environment)
    settings = Settings()
    engine = make_engine(settings.require_database_url())
    roll_back(engine, settings, user_id, content_id, actor="killed")

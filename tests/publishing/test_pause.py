"""Paused posts wait, they do not fail: everything, a platform or an account; and what resuming does."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import Platform, PublicationStatus, to_db
from minitik_dagster.errors import InvalidInputError, NotFoundError, StateConflictError
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.publishing import pauses
from minitik_dagster.publishing.holds import release_held
from minitik_dagster.publishing.pause_watch import PauseWatch
from minitik_dagster.publishing.pauses import Scope
from tests.publishing.running import all_at, run_until

pytestmark = pytest.mark.slow

YOUTUBE, TIKTOK = Platform.YOUTUBE, Platform.TIKTOK


def pause(bench: Workbench, scope: Scope, reason: str = "a holiday") -> pauses.Cost:
    with bench.engine.begin() as connection:
        return pauses.pause(connection, scope, reason=reason, actor="operator")


def resume(bench: Workbench, scope: Scope) -> pauses.Resumed:
    with bench.engine.begin() as connection:
        return pauses.resume(connection, scope, actor="operator")


def once(act: Callable[[], object], when: Callable[[], bool] = lambda: True) -> Callable[[], None]:
    """Return what does `act` the first time that `when` holds."""
    done = False

    def look() -> None:
        nonlocal done
        if not done and when():
            act()
            done = True

    return look


def step_names(bench: Workbench) -> list[str]:
    sql = 'SELECT name FROM publication_steps ORDER BY "startedAt", id'
    with bench.engine.connect() as connection:
        return list(connection.execute(text(sql)).scalars())


def one(bench: Workbench, ids: list[str]) -> Publication:
    (row,) = bench.rows(ids)
    return row


def test_posts_of_a_paused_platform_wait_while_the_others_go(workbench: Workbench) -> None:
    """Nothing is asked of the platform, no attempt is used, the reason is told; resume lets it go."""
    accounts = [(workbench.add_account(platform), platform) for platform in (YOUTUBE, TIKTOK)]
    video = workbench.add_video()
    scope = Scope(platform=YOUTUBE)
    pause(workbench, scope)
    ids = workbench.schedule(video, accounts, workbench.now() + timedelta(seconds=3))
    run_until(workbench, ids, all_at("paused", "live"))
    rows = {row.platform: row for row in workbench.rows(ids)}
    assert (rows[TIKTOK].stage, rows[YOUTUBE].stage) == ("live", "paused")
    waiting = rows[YOUTUBE]
    assert waiting.hold_reason == "youtube is paused: a holiday"
    assert (waiting.status, waiting.attempts) == (PublicationStatus.QUEUED, 0)
    assert waiting.lease_owner is None
    assert not [call for call in workbench.sandbox.calls() if call["platform"] == "youtube"]
    run_until(
        workbench, ids, all_at("live"), meanwhile=once(lambda: resume(workbench, scope)), seconds=45
    )
    assert len(workbench.public_posts(video)) == 2


def test_a_prepared_post_is_put_down_before_its_commit_and_keeps_its_handle(
    workbench: Workbench,
) -> None:
    """The pause ends the hold; after the resume the same handle is committed, nothing made twice."""
    account = workbench.add_account(YOUTUBE)
    video = workbench.add_video()
    ids = workbench.schedule(video, [(account, YOUTUBE)], workbench.now() + timedelta(seconds=7))
    scope = Scope(account_id=account)
    run_until(
        workbench,
        ids,
        all_at("paused"),
        meanwhile=once(
            lambda: pause(workbench, scope), lambda: one(workbench, ids).stage == "prepared"
        ),
    )
    due_at = one(workbench, ids).due_at
    assert due_at is not None
    assert due_at > workbench.now(), "put down at once, not at its instant"
    assert workbench.public_posts(video) == []
    assert resume(workbench, scope) == pauses.Resumed(released=1, too_late=0)
    run_until(workbench, ids, all_at("live"), seconds=45)
    assert step_names(workbench) == ["session", "upload", "commit"]
    assert len(workbench.public_posts(video)) == 1


def test_a_stale_copy_of_the_flags_commits_nothing(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger row is opened by a statement that tests the flag itself, under the row lock."""

    async def blind(_watch: PauseWatch) -> None:
        return

    account = workbench.add_account(YOUTUBE)
    video = workbench.add_video()
    due_at = workbench.now() + timedelta(seconds=5)
    ids = workbench.schedule(video, [(account, YOUTUBE)], due_at)
    raised = once(
        lambda: pause(workbench, Scope()), lambda: one(workbench, ids).stage == "prepared"
    )
    with monkeypatch.context() as blinded:
        blinded.setattr(PauseWatch, "look", blind)
        run_until(
            workbench,
            ids,
            lambda _: workbench.now() > due_at + timedelta(seconds=2),
            meanwhile=raised,
        )
    assert workbench.public_posts(video) == []
    assert "commit" not in step_names(workbench)
    run_until(workbench, ids, all_at("paused"))


def test_what_was_sent_is_confirmed_under_a_pause(workbench: Workbench) -> None:
    """Confirming and asking go on: a pause is about what has not been sent."""
    workbench.sandbox.set_limits(tiktok={"processingMs": 2500, "moderationMs": 100})
    account = workbench.add_account(TIKTOK)
    video = workbench.add_video()
    ids = workbench.schedule(video, [(account, TIKTOK)], workbench.now() + timedelta(seconds=3))
    stop = once(
        lambda: pause(workbench, Scope()), lambda: one(workbench, ids).stage == "confirming"
    )
    run_until(workbench, ids, all_at("live"), meanwhile=stop)
    with workbench.engine.connect() as connection:
        assert [item.scope for item in pauses.list_pauses(connection)] == ["all"]


def test_what_became_too_late_under_a_pause_fails_only_after_the_resume(
    workbench: Workbench,
) -> None:
    """Paused posts wait, however long; the resume says how many its patience has cost."""
    account = workbench.add_account(YOUTUBE)
    pause(workbench, Scope())
    due_at = workbench.now() - timedelta(minutes=5)
    ids = workbench.schedule(workbench.add_video(), [(account, YOUTUBE)], due_at, max_lateness=60)
    run_until(workbench, ids, all_at("paused"))
    assert one(workbench, ids).error_code is None
    assert resume(workbench, Scope()) == pauses.Resumed(released=1, too_late=1)
    run_until(workbench, ids, all_at("failed"))
    assert one(workbench, ids).error_code == "too_late"


def test_a_post_under_two_pauses_waits_for_both(workbench: Workbench) -> None:
    account = workbench.add_account(YOUTUBE)
    everything, platform = Scope(), Scope(platform=YOUTUBE)
    ids = workbench.schedule(
        workbench.add_video(), [(account, YOUTUBE)], workbench.now() - timedelta(seconds=1)
    )
    assert pause(workbench, everything).paused == 1
    pause(workbench, platform)
    assert one(workbench, ids).stage == "paused", "shelved without any dispatcher"
    assert resume(workbench, everything).released == 0
    assert one(workbench, ids).stage == "paused"
    assert resume(workbench, platform).released == 1
    assert one(workbench, ids).stage == "scheduled"


def test_a_resume_leaves_what_an_adoption_found_without_a_time(workbench: Workbench) -> None:
    """Such a row was never planned: it waits for a person."""
    account = workbench.add_account(YOUTUBE)
    ids = workbench.schedule(workbench.add_video(), [(account, YOUTUBE)], workbench.now())
    with workbench.engine.begin() as connection:
        connection.execute(text("UPDATE publications SET stage = 'paused', \"prepareAt\" = NULL"))
    pause(workbench, Scope())
    assert resume(workbench, Scope()).released == 0
    assert one(workbench, ids).stage == "paused"


def test_pausing_and_resuming_refuse_what_is_not_there(workbench: Workbench) -> None:
    with pytest.raises(NotFoundError, match="no account"):
        pause(workbench, Scope(account_id="nobody"))
    with pytest.raises(NotFoundError, match="everything is not paused; paused is: nothing"):
        resume(workbench, Scope())
    bad: list[dict[str, Any]] = [
        {"everything": False, "platform": None, "account_id": None},
        {"everything": True, "platform": "tiktok", "account_id": None},
        {"everything": False, "platform": "myspace", "account_id": None},
    ]
    for given in bad:
        with pytest.raises(InvalidInputError):
            Scope.of(**given)


def test_held_posts_of_a_reconnected_account_go_on_unless_too_late(workbench: Workbench) -> None:
    """Refused while it is not connected; what is too late is named and stays held."""
    account = workbench.add_account(YOUTUBE)
    videos = [workbench.add_video() for _ in range(2)]
    now = workbench.now()
    first = workbench.schedule(videos[0], [(account, YOUTUBE)], now - timedelta(seconds=5))
    second = workbench.schedule(videos[1], [(account, YOUTUBE)], now - timedelta(seconds=5))

    def set_account(status: str) -> None:
        with workbench.engine.begin() as connection:
            connection.execute(
                text('UPDATE accounts SET status = CAST(:status AS "AccountStatus")'),
                {"status": status},
            )

    set_account("EXPIRED")
    run_until(workbench, first + second, all_at("held"))
    with (
        pytest.raises(StateConflictError, match="connect it again first"),
        Session(workbench.engine) as session,
    ):
        release_held(session, account, actor="operator")
    set_account("CONNECTED")
    with workbench.engine.begin() as connection:
        connection.execute(
            text('UPDATE publications SET "dueAt" = :due WHERE id = :id'),
            {"id": second[0], "due": to_db(now - timedelta(days=1))},
        )
    with Session(workbench.engine) as session, session.begin():
        done = release_held(session, account, actor="operator")
    assert (done.released, done.too_late) == (tuple(first), tuple(second))
    run_until(workbench, first, all_at("live"), seconds=45)
    assert one(workbench, second).stage == "held"
    assert [len(workbench.public_posts(video)) for video in videos] == [1, 0]

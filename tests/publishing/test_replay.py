"""Replay of dead letters: a plan first, then for real; nothing is ever posted twice by it."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import Platform, from_db
from minitik_dagster.errors import InvalidInputError, NotFoundError, StateConflictError
from minitik_dagster.local.workbench import Video, Workbench
from minitik_dagster.publishing import dead_letters
from minitik_dagster.publishing.dead_letters import DeadLetter, Selection
from minitik_dagster.publishing.replay import Action, Replay, Slot, replay
from tests.publishing.kill_harness import COMMIT_OF
from tests.publishing.running import all_at, run_until

TIKTOK, INSTAGRAM, YOUTUBE = Platform.TIKTOK, Platform.INSTAGRAM, Platform.YOUTUBE
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
EVERYTHING = Selection(platform=YOUTUBE)
# A documented refusal of the commit: final for the engine, whatever the platform did with the call.
REFUSALS: Mapping[Platform, Mapping[str, Any]] = {
    YOUTUBE: {"status": 403, "code": "forbidden"},
    INSTAGRAM: {"status": 400, "code": "36000/2207004"},
}


def run_replay(bench: Workbench, selection: Selection, slot: Slot | None = None) -> Replay:
    with Session(bench.engine) as session, session.begin():
        return replay(session, selection, slot=slot, dry_run=False, actor="operator")


def plan(bench: Workbench, selection: Selection, slot: Slot | None = None) -> Replay:
    """Plan and show that planning changed no row."""
    before = fingerprint(bench)
    with Session(bench.engine) as session, session.begin():
        planned = replay(session, selection, slot=slot, actor="operator")
    assert fingerprint(bench) == before
    return planned


def fingerprint(bench: Workbench) -> list[str]:
    tables = ("publications", "publication_steps", "handles", "dead_letters", "audit_log")
    with bench.engine.connect() as connection:
        return [
            row
            for table in tables
            for row in connection.execute(
                text(f"SELECT md5(t::text) AS row FROM {table} t ORDER BY 1")  # noqa: S608 - a constant
            ).scalars()
        ]


def letters(bench: Workbench, **selection: Any) -> list[DeadLetter]:
    with bench.engine.connect() as connection:
        return dead_letters.list_dead_letters(connection, Selection(**selection))


def one(bench: Workbench, ids: list[str]) -> Publication:
    (row,) = bench.rows(ids)
    return row


def failed(
    bench: Workbench,
    platform: Platform = YOUTUBE,
    *,
    video: Video | None = None,
    account: str | None = None,
    fault: Mapping[str, Any] | None = None,
) -> tuple[Video, str, list[str]]:
    """A post that failed for good: too late, or by a fault of the commit."""
    video = video or bench.add_video()
    account = account or bench.add_account(platform)
    if fault is not None:
        name = platform.value.lower()
        bench.sandbox.add_fault(platform=name, operation=COMMIT_OF[platform], count=1, **fault)
        ids = bench.schedule(video, [(account, platform)], bench.now() + timedelta(seconds=2))
    else:
        due_at = bench.now() - timedelta(minutes=10)
        ids = bench.schedule(video, [(account, platform)], due_at, max_lateness=60)
    run_until(bench, ids, all_at("failed"))
    return video, account, ids


def steps(bench: Workbench, ids: list[str]) -> list[tuple[str, str]]:
    sql = (
        'SELECT name, outcome FROM publication_steps WHERE "publicationId" = ANY(:ids) '
        'ORDER BY "startedAt", id'
    )
    with bench.engine.connect() as connection:
        return [(row.name, row.outcome) for row in connection.execute(text(sql), {"ids": ids})]


def commits_seen(bench: Workbench, platform: Platform) -> int:
    return sum(call["operation"] == COMMIT_OF[platform] for call in bench.sandbox.calls())


def test_what_was_never_sent_is_published_anew_once_its_slot_allows(workbench: Workbench) -> None:
    """Too late as it stands; with a larger lateness the same plan publishes, once, and says who did it."""
    video, _, ids = failed(workbench)
    [item] = plan(workbench, EVERYTHING).items
    assert (item.action, item.publication_id) == (Action.TOO_LATE, ids[0])
    assert run_replay(workbench, EVERYTHING).counts == {"too_late": 1}
    assert one(workbench, ids).stage == "failed"

    later = Slot(max_lateness=timedelta(hours=1))
    [item] = plan(workbench, Selection(code="too_late"), later).items
    assert item.action is Action.PUBLISH
    before = one(workbench, ids)
    assert run_replay(workbench, Selection(code="too_late"), later).counts == {"publish": 1}
    row = one(workbench, ids)
    assert (row.stage, row.attempts, row.error, row.error_code) == ("scheduled", 0, None, None)
    assert row.revision == (before.revision or 0) + 1
    with workbench.engine.connect() as connection:
        entry = connection.execute(text("SELECT action, subject, actor FROM audit_log")).one()
        status = connection.execute(text("SELECT status FROM contents")).scalar_one()
    assert tuple(entry) == ("dead_letter.replay", ids[0], "operator")
    assert status == "SCHEDULED"
    run_until(workbench, ids, all_at("live"), seconds=45)
    assert len(workbench.public_posts(video)) == 1
    assert letters(workbench) == []
    [letter] = letters(workbench, resolved=True)
    assert letter.resolution == "replayed"


def test_a_replay_can_name_a_new_instant(workbench: Workbench) -> None:
    """The post is prepared ahead and goes out at it, never before."""
    video, _, ids = failed(workbench)
    at = workbench.now().replace(microsecond=0) + timedelta(seconds=7)
    assert run_replay(workbench, Selection(ids=ids), Slot(at=at)).counts == {"publish": 1}
    run_until(workbench, ids, all_at("live"), seconds=45)
    row = one(workbench, ids)
    assert row.due_at == at
    assert row.committed_at is not None
    assert row.committed_at >= at
    assert len(workbench.public_posts(video)) == 1


@pytest.mark.parametrize("platform", [YOUTUBE, INSTAGRAM])
def test_a_post_that_failed_and_is_in_truth_live_is_not_doubled(
    workbench: Workbench, platform: Platform
) -> None:
    """Accepted, then answered with a refusal: the reconciler asks, finds it, and sends nothing."""
    video, _, ids = failed(workbench, platform, fault={"kind": "error-after", **REFUSALS[platform]})
    assert len(workbench.public_posts(video)) == 1
    [item] = plan(workbench, Selection(platform=platform)).items
    assert item.action is Action.RECONCILE
    run_replay(workbench, Selection(platform=platform))
    assert one(workbench, ids).stage == "unknown"
    run_until(workbench, ids, all_at("live"), seconds=45)
    assert len(workbench.public_posts(video)) == 1
    assert commits_seen(workbench, platform) == 1
    assert steps(workbench, ids)[-2:] == [("commit", "rejected"), ("recheck", "ok")]
    row = one(workbench, ids)
    assert row.committed_at is not None
    assert row.due_at is not None
    assert row.committed_at - row.due_at < timedelta(seconds=5), (
        "the time of the call that published"
    )
    [again] = run_replay(workbench, Selection(ids=ids)).items
    assert again.action is Action.SKIP_LIVE


def test_a_post_whose_handle_was_called_dead_and_is_live_is_found_and_not_doubled(
    workbench: Workbench,
) -> None:
    """The lie cost the handle, the next one was refused: the replay asks about the one that was sent."""
    workbench.sandbox.add_fault(
        platform="youtube",
        operation="session",
        kind="status",
        status=400,
        code="badRequest",
        skip=1,
    )
    lie = {"kind": "error-after", "status": 404, "code": "videoNotFound"}
    video, _, ids = failed(workbench, fault=lie)
    assert len(workbench.public_posts(video)) == 1
    assert [name for name, _ in steps(workbench, ids)] == ["session", "upload", "commit", "session"]
    assert run_replay(workbench, Selection(code="badRequest")).counts == {"reconcile": 1}
    run_until(workbench, ids, all_at("live"), seconds=45)
    assert len(workbench.public_posts(video)) == 1
    assert commits_seen(workbench, YOUTUBE) == 1
    with workbench.engine.connect() as connection:
        assert list(connection.execute(text("SELECT state FROM handles")).scalars()) == ["used"]


def test_a_refused_commit_that_did_nothing_is_asked_about_and_sent_on_the_same_handle(
    workbench: Workbench,
) -> None:
    """Not published counts by the platform's word; nothing is uploaded a second time."""
    video, _, ids = failed(workbench, fault={"kind": "status", **REFUSALS[YOUTUBE]})
    assert workbench.public_posts(video) == []
    run_replay(workbench, Selection(code="forbidden"))
    run_until(workbench, ids, all_at("live"), seconds=45)
    assert len(workbench.public_posts(video)) == 1
    assert steps(workbench, ids)[2:] == [
        ("commit", "rejected"),
        ("recheck", "not_published"),
        ("commit", "ok"),
    ]
    with workbench.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM handles")).scalar_one() == 1


def test_a_post_scheduled_again_meanwhile_is_not_replayed_beside_it(workbench: Workbench) -> None:
    """The owner was quicker; of two that failed only the later goes."""
    video, account, first = failed(workbench)
    _, _, second = failed(workbench, video=video, account=account)
    slot = Slot(max_lateness=timedelta(hours=1))
    actions = {item.publication_id: item.action for item in plan(workbench, EVERYTHING, slot).items}
    assert actions == {first[0]: Action.SKIP_REPLACED, second[0]: Action.PUBLISH}
    run_replay(workbench, EVERYTHING, slot)
    run_until(workbench, second, all_at("live"), seconds=45)
    assert run_replay(workbench, EVERYTHING, slot).counts == {"skip_replaced": 1}
    assert len(workbench.public_posts(video)) == 1


def test_what_cannot_go_is_left_as_it_is_and_says_why(workbench: Workbench) -> None:
    """An account that is not connected, a content that is gone: the letters stay open."""
    _, account, held = failed(workbench)
    video, _, gone = failed(workbench)
    with workbench.engine.begin() as connection:
        connection.execute(
            text("UPDATE accounts SET status = 'EXPIRED' WHERE id = :id"), {"id": account}
        )
        connection.execute(
            text('UPDATE contents SET "deletedAt" = "createdAt" WHERE id = :id'),
            {"id": video.content_id},
        )
    done = run_replay(workbench, EVERYTHING, Slot(max_lateness=timedelta(hours=1)))
    assert {item.publication_id: item.action for item in done.items} == {
        held[0]: Action.HELD,
        gone[0]: Action.SKIP_GONE,
    }
    assert {row.stage for row in workbench.rows(held + gone)} == {"failed"}
    assert len(letters(workbench)) == 2
    table = done.markdown()
    assert "reconnect it first" in table
    assert table.startswith("Done: 1 held, 1 skip_gone.")


def test_two_replays_at_once_move_each_post_once(workbench: Workbench) -> None:
    """The second waits for the row's lock, judges again and finds nothing to do."""
    _, _, ids = failed(workbench)
    slot = Slot(max_lateness=timedelta(hours=1))
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: run_replay(workbench, Selection(ids=ids), slot), range(2)))
    assert both[0].counts + both[1].counts == {"publish": 1, "skip_moved": 1}
    assert one(workbench, ids).revision == 1


def test_the_dead_letter_holds_the_whole_story(workbench: Workbench) -> None:
    """Steps with the platform's code, words and request id; the reason and the fix in plain words."""
    _, _, ids = failed(workbench, INSTAGRAM, fault={"kind": "status", **REFUSALS[INSTAGRAM]})
    [letter] = letters(workbench, code="36000/2207004")
    assert letter.publication_id == ids[0]
    assert letter.reason.startswith("Instagram does not take the picture")
    assert letter.fix == "choose another cover"
    assert [step["name"] for step in letter.story] == ["container", "processing", "commit"]
    commit = letter.story[-1]
    assert (commit["outcome"], commit["platformCode"]) == ("rejected", "36000/2207004")
    assert commit["detail"]["message"] == letter.reason
    assert commit["requestId"]
    assert commit["sentAt"]
    assert "http" not in str(letter.story).lower(), "no presigned URL"


def test_selecting_narrows_by_cause_platform_time_and_owner(workbench: Workbench) -> None:
    _, _, ids = failed(workbench)
    [letter] = letters(workbench)
    at = letter.created_at
    second = timedelta(seconds=1)
    found: list[dict[str, Any]] = [
        {"code": "too_late"},
        {"since": at, "until": at + second},
        {"user_id": workbench.user_id},
        {"ids": [letter.id]},
        {"ids": ids, "code": "too_late"},
    ]
    missed: list[dict[str, Any]] = [
        {"code": "forbidden"},
        {"platform": TIKTOK},
        {"since": at + second},
        {"until": at},
        {"user_id": "another"},
    ]
    assert [len(letters(workbench, **selection)) for selection in found] == [1] * len(found)
    assert [len(letters(workbench, **selection)) for selection in missed] == [0] * len(missed)


def test_a_replay_refuses_what_it_cannot_mean(workbench: Workbench) -> None:
    """Nothing selected, an unknown or foreign id, an instant in the past: nothing is changed."""
    _, _, ids = failed(workbench)
    refused: list[tuple[Selection, Slot, type[Exception]]] = [
        (Selection(), Slot(), InvalidInputError),
        (Selection(user_id=workbench.user_id), Slot(), InvalidInputError),
        (Selection(ids=[*ids, "nothing"]), Slot(), NotFoundError),
        (Selection(ids=ids, user_id="another"), Slot(), NotFoundError),
        (EVERYTHING, Slot(at=workbench.now() - timedelta(days=1)), InvalidInputError),
        (EVERYTHING, Slot(max_lateness=timedelta(days=31)), InvalidInputError),
    ]
    for selection, slot, error in refused:
        with pytest.raises(error):
            run_replay(workbench, selection, slot)
    assert one(workbench, ids).stage == "failed"


def test_a_discarded_letter_is_neither_listed_nor_replayed(workbench: Workbench) -> None:
    _, _, ids = failed(workbench)
    [letter] = letters(workbench)
    with workbench.engine.begin() as connection:
        dead_letters.discard(connection, letter.id, actor="operator")
    assert letters(workbench) == []
    assert run_replay(workbench, EVERYTHING).items == ()
    [item] = run_replay(workbench, Selection(ids=ids)).items
    assert (item.action, item.reason) == (
        Action.SKIP_MOVED,
        "this dead letter is discarded already",
    )
    with pytest.raises(StateConflictError), workbench.engine.begin() as connection:
        dead_letters.discard(connection, letter.id, actor="operator")
    with workbench.engine.connect() as connection:
        shown = dead_letters.get_dead_letter(connection, letter.id)
        resolved = connection.execute(text('SELECT "resolvedAt" FROM dead_letters')).scalar_one()
    assert shown.resolved_at == from_db(resolved)

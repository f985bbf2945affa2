"""What was prepared and will not go out is taken away, by the outbox, across crashes."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import Platform, to_db
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.publishing.dead_letter_queries import ACTIVATE_HANDLE
from minitik_dagster.publishing.disconnect import disconnect
from minitik_dagster.publishing.due import DISCARD_PATIENCE, waiting
from minitik_dagster.scheduling.changes import Change, cancel, change
from minitik_dagster.scheduling.instants import ZonedInstant
from tests.publishing.kill_harness import Ground
from tests.publishing.running import all_at, run_until

pytestmark = pytest.mark.slow

YOUTUBE = Platform.YOUTUBE


def rows(bench: Workbench, sql: str, **values: Any) -> list[dict[str, Any]]:
    with bench.engine.begin() as connection:
        found = connection.execute(text(sql), values)
        return [dict(row) for row in found.mappings()] if found.returns_rows else []


def deletions(bench: Workbench) -> list[Any]:
    """The answers to every deletion the sandbox has seen; None for one not answered yet."""
    return [call["status"] for call in bench.sandbox.calls() if call["operation"] == "delete"]


def message_done(bench: Workbench) -> Callable[[list[Publication]], bool]:
    """The one note to discard a handle is done."""

    def done(_: list[Publication]) -> bool:
        noted = "SELECT 1 FROM outbox WHERE kind = 'discard_handle' AND \"doneAt\" IS NOT NULL"
        return bool(rows(bench, noted))

    return done


@pytest.fixture
def prepared(workbench: Workbench) -> str:
    """A YouTube post whose private video is uploaded, due in ten minutes; its publication's id."""
    account = workbench.add_account(YOUTUBE)
    video = workbench.add_video()
    ids = workbench.schedule(video, [(account, YOUTUBE)], workbench.now() + timedelta(minutes=10))
    run_until(workbench, ids, all_at("prepared"))
    return ids[0]


def job_of(bench: Workbench, publication_id: str) -> str:
    [row] = bench.rows([publication_id])
    assert row.scheduled_job_id is not None
    return row.scheduled_job_id


def test_a_cancelled_posts_private_video_is_deleted_and_the_cancel_says_so(
    workbench: Workbench, prepared: str
) -> None:
    """The note is written with the cancel, carried out by a dispatcher, and stands in the ledger."""
    with Session(workbench.engine) as session, session.begin():
        undone = cancel(session, workbench.user_id, job_of(workbench, prepared))
    assert [(item.publication_id, item.platform) for item in undone] == [(prepared, YOUTUBE)]
    assert "private video is deleted" in undone[0].text
    assert deletions(workbench) == []

    run_until(workbench, [prepared], message_done(workbench))

    assert deletions(workbench) == [204]
    steps = rows(
        workbench,
        'SELECT name, outcome, "platformCode" AS code, "handleId" IS NOT NULL AS handled '
        "FROM publication_steps WHERE name = 'delete'",
    )
    assert steps == [{"name": "delete", "outcome": "ok", "code": "204", "handled": True}]
    assert rows(workbench, "SELECT state FROM handles") == [{"state": "dead"}]


def test_a_moved_posts_old_video_is_deleted_and_a_new_one_prepared(
    workbench: Workbench, prepared: str
) -> None:
    """Two uploads, one deletion: the new handle is not the one that is taken away."""
    later = ZonedInstant(workbench.now() + timedelta(minutes=12), "UTC")
    with Session(workbench.engine) as session, session.begin():
        undone = change(session, workbench.user_id, job_of(workbench, prepared), Change(when=later))
    assert [item.platform for item in undone] == [YOUTUBE]

    def done(publications: list[Publication]) -> bool:
        return all_at("prepared")(publications) and message_done(workbench)(publications)

    run_until(workbench, [prepared], done)
    assert deletions(workbench) == [204]
    states = rows(workbench, 'SELECT state FROM handles ORDER BY "createdAt"')
    assert [row["state"] for row in states] == ["dead", "active"]


def test_a_failed_posts_private_video_is_deleted(workbench: Workbench, prepared: str) -> None:
    """A post that is prepared and then too late leaves nothing on the channel."""
    rows(
        workbench,
        'UPDATE publications SET "dueAt" = "dueAt" - interval \'1 hour\', "maxLateness" = 60, '
        '"nextAttemptAt" = "createdAt"',
    )
    run_until(workbench, [prepared], message_done(workbench))
    assert [row.stage for row in workbench.rows([prepared])] == ["failed"]
    assert deletions(workbench) == [204]


def test_a_public_video_is_never_deleted_by_the_outbox(workbench: Workbench) -> None:
    """Whatever the rows say: the platform is asked first, and what it shows is kept."""
    account = workbench.add_account(YOUTUBE)
    video = workbench.add_video()
    ids = workbench.schedule(video, [(account, YOUTUBE)], workbench.now() + timedelta(seconds=4))
    run_until(workbench, ids, all_at("live"))
    rows(workbench, "UPDATE handles SET state = 'dropped'")
    note_discard(workbench)
    run_until(workbench, ids, message_done(workbench))
    assert deletions(workbench) == []
    assert len(workbench.public_posts(video)) == 1
    assert rows(workbench, "SELECT error FROM outbox WHERE kind = 'discard_handle'") == [
        {"error": "kept: the platform calls it live"}
    ]


def test_a_handle_that_is_in_use_again_is_left_alone(workbench: Workbench, prepared: str) -> None:
    """A replay may have taken the handle up between the note and the worker."""
    note_discard(workbench)
    run_until(workbench, [prepared], message_done(workbench))
    assert deletions(workbench) == []
    assert rows(workbench, "SELECT state FROM handles") == [{"state": "active"}]


def test_a_handle_that_is_being_discarded_is_never_taken_up_again(
    workbench: Workbench, prepared: str
) -> None:
    """The worker burns the handle before it calls: a replay that comes then finds it dead."""
    with Session(workbench.engine) as session, session.begin():
        cancel(session, workbench.user_id, job_of(workbench, prepared))
    run_until(workbench, [prepared], message_done(workbench))
    [handle] = rows(workbench, "SELECT id FROM handles")
    rows(workbench, ACTIVATE_HANDLE, handle_id=handle["id"])
    assert rows(workbench, "SELECT state FROM handles") == [{"state": "dead"}]


def test_a_dispatcher_killed_in_the_deletion_leaves_it_to_the_next(
    workbench: Workbench, prepared: str, ground: Ground
) -> None:
    """`kill -9` after the platform deleted and before the record: repeated, and gone is done."""
    workbench.sandbox.add_fault(
        platform="youtube", operation="delete", kind="delay", delayMs=6_000, count=1
    )
    with Session(workbench.engine) as session, session.begin():
        cancel(session, workbench.user_id, job_of(workbench, prepared))
    with ground.dispatcher("first") as first:
        wait_until(lambda: len(deletions(workbench)) == 1)
        first.kill()
    assert not message_done(workbench)([])
    workbench.sandbox.call("DELETE", "/_sandbox/faults")
    with ground.dispatcher("second") as second:
        wait_until(lambda: message_done(workbench)([]))
    outcomes = rows(
        workbench,
        "SELECT outcome FROM publication_steps WHERE name = 'delete' AND outcome IS NOT NULL",
    )
    assert outcomes == [{"outcome": "ok"}]
    for words in (first.words(), second.words()):
        assert "Traceback" not in words


def test_a_video_whose_upload_ended_unseen_is_deleted_by_its_session(
    workbench: Workbench, prepared: str
) -> None:
    """The video's id was never stored, as after a kill at that moment: the session names it still."""
    rows(workbench, 'UPDATE handles SET "externalId" = NULL')
    with Session(workbench.engine) as session, session.begin():
        cancel(session, workbench.user_id, job_of(workbench, prepared))
    run_until(workbench, [prepared], message_done(workbench))
    assert deletions(workbench) == [204]


def note_discard(bench: Workbench) -> None:
    """Write the note for every handle, as dropping them would."""
    rows(
        bench,
        'INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt") '
        "SELECT 'discard:' || id, 'discard_handle', jsonb_build_object('handleId', id), "
        '"createdAt", 0, "createdAt" FROM handles',
    )


def wait_until(seen: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, "not seen"
        time.sleep(0.02)


def discards_waiting(bench: Workbench) -> int:
    """What the sensor would start a dispatcher for, besides posts."""
    with bench.engine.connect() as connection:
        return waiting(connection, lease=timedelta(seconds=30)).discards


def age_discards(bench: Workbench, by: timedelta) -> None:
    rows(bench, 'UPDATE outbox SET "dueAt" = "dueAt" - CAST(:by AS interval)', by=by)


def test_a_discard_waits_for_a_dispatcher_for_a_minute_and_then_asks_for_one(
    workbench: Workbench, prepared: str
) -> None:
    """No dispatcher lives: the sensor counts it, once its patience is over."""
    with Session(workbench.engine) as session, session.begin():
        cancel(session, workbench.user_id, job_of(workbench, prepared))
    assert discards_waiting(workbench) == 0
    age_discards(workbench, DISCARD_PATIENCE)
    assert discards_waiting(workbench) == 1
    run_until(workbench, [prepared], message_done(workbench))
    assert discards_waiting(workbench) == 0
    assert deletions(workbench) == [204]


@pytest.mark.parametrize(
    ("heartbeat_ago", "window_ends_in", "counted"),
    [
        (timedelta(0), None, 0),
        (timedelta(0), timedelta(minutes=5), 0),
        (timedelta(0), timedelta(seconds=5), 1),
        (timedelta(minutes=2), None, 1),
    ],
    ids=["resident", "run", "run at its end", "silent"],
)
def test_a_discard_that_a_live_dispatcher_will_take_asks_for_none(
    workbench: Workbench,
    prepared: str,
    heartbeat_ago: timedelta,
    window_ends_in: timedelta | None,
    counted: int,
) -> None:
    """Alive is who has shown a heartbeat within a lease and whose window goes on."""
    with Session(workbench.engine) as session, session.begin():
        cancel(session, workbench.user_id, job_of(workbench, prepared))
    age_discards(workbench, DISCARD_PATIENCE)
    now = workbench.now()
    rows(
        workbench,
        'UPDATE dispatchers SET "endedAt" = NULL, "heartbeatAt" = :beat, "windowEndsAt" = :end',
        beat=to_db(now - heartbeat_ago),
        end=to_db(now + window_ends_in) if window_ends_in else None,
    )
    assert discards_waiting(workbench) == counted


def test_a_disconnected_account_waits_for_a_dispatcher_for_a_minute_and_then_asks_for_one(
    workbench: Workbench,
) -> None:
    """No post waits: nobody else would come to withdraw the access and empty the tokens."""
    account = workbench.add_account(YOUTUBE)
    with Session(workbench.engine) as session, session.begin():
        disconnect(session, account, posts="hold", actor="test")
    assert discards_waiting(workbench) == 0
    age_discards(workbench, DISCARD_PATIENCE)
    assert discards_waiting(workbench) == 1


def test_dispatchers_windows_in_the_outbox_start_no_dispatcher(workbench: Workbench) -> None:
    """They wait for Dagster to show them, not for an engine."""
    rows(
        workbench,
        'INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt") VALUES '
        "('w', 'dispatcher.window', '{}', '2026-01-01', 0, '2026-01-01')",
    )
    assert discards_waiting(workbench) == 0

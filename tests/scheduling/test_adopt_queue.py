"""The old queue while it is taken over: BullMQ's own rules, once, and after a crash at any step."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from minitik_dagster.db.engine import make_engine
from minitik_dagster.errors import StateConflictError
from minitik_dagster.operations.old_keys import forget, forgettable
from minitik_dagster.resilience.old_queue import is_running, read_old_queue
from minitik_dagster.resilience.old_queue_changes import (
    Removal,
    pause_old_queue,
    remove_old_job,
)
from minitik_dagster.scheduling.adopt import adopt
from tests.scheduling.bull import OldBull
from tests.scheduling.legacy import OldSystem


@pytest.fixture
def engine(legacy_database_url: str) -> Iterator[Engine]:
    made = make_engine(legacy_database_url)
    yield made
    made.dispose()


@pytest.fixture
def old(engine: Engine) -> OldSystem:
    return OldSystem(engine)


@pytest.fixture
def bull(redis_url: str) -> Iterator[OldBull]:
    made = OldBull(redis_url)
    yield made
    made.close()


def pending(old: OldSystem, bull: OldBull, **options: Any) -> tuple[str, str]:
    """A scheduled job as the old system leaves it: a row, and its BullMQ job. (row, BullMQ's id)."""
    account, content = old.account("YOUTUBE"), old.content()
    job = old.job(content, [account])
    bull_id = bull.add({"scheduledJobId": job, "contentId": content}, **options)
    with old.engine.begin() as connection:
        connection.execute(
            text('UPDATE scheduled_jobs SET "bullJobId" = :bull WHERE id = :id'),
            {"bull": bull_id, "id": job},
        )
    return job, bull_id


def stages(old: OldSystem) -> dict[str, str]:
    """Each publication's stage by its job."""
    return {row["scheduledJobId"]: row["stage"] for row in old.rows().values()}


KINDS: dict[str, dict[str, Any]] = {
    "waiting": {},
    "delayed": {"delay": 3_600_000},
    "prioritized": {"priority": 5},
    "deduplicated": {"deduplication": {"id": "once"}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_leaves_the_queue_as_bullmq_itself_would_remove_it(bull: OldBull, kind: str) -> None:
    """Every key, list and event afterwards is what `Job.remove` leaves."""
    found = []
    for remove in (bull.remove, lambda job_id: remove_old_job(bull.url, job_id)):
        bull.client.flushall()
        stays, goes = bull.add({"a": 1}, jobId="stays"), bull.add({"b": 2}, **KINDS[kind])
        assert stays == "stays"
        remove(goes)
        found.append(bull.standing())
    theirs, ours = found
    # The time of a job's making is the only thing that differs between two runs.
    for one in (theirs, ours):
        one["bull:publish:stays"].pop("timestamp")
        for event in one["events"]:
            event.pop("delay", None)
    assert ours == theirs
    assert ours["events"][-1]["event"] == "removed"
    assert remove_old_job(bull.url, goes) is Removal.GONE


def test_a_job_in_a_workers_hands_is_not_removed(bull: OldBull) -> None:
    """Its lock says so, for BullMQ and for us."""
    bull.add({})
    job_id = bull.take()
    assert job_id is not None
    before = bull.standing()
    assert remove_old_job(bull.url, job_id) is Removal.LOCKED
    assert bull.standing() == before
    with pytest.raises(Exception, match="could not be removed"):
        bull.remove(job_id)


@pytest.mark.parametrize("already", ["", "by the old system"])
def test_a_paused_queue_gives_its_workers_nothing_and_loses_nothing(
    bull: OldBull, already: str
) -> None:
    """Neither to workers that ask `meta` nor to those that wait on the list; resumed, all come back."""
    first = bull.add({})
    if already:
        # As BullMQ 5 leaves it: the ids stand in `paused`.
        bull.client.hset("bull:publish:meta", "paused", "1")
        bull.client.rename("bull:publish:wait", "bull:publish:paused")
        bull.client.lpush("bull:publish:wait", "stray")
        bull.client.hset("bull:publish:stray", "data", "{}")
    assert pause_old_queue(bull.url) is not bool(already)
    assert pause_old_queue(bull.url) is False
    assert bull.take() is None
    assert bull.client.llen("bull:publish:wait") == 0
    assert is_running(bull.url) is False
    bull.resume()
    assert is_running(bull.url) is True
    assert bull.take() == first


def test_a_pending_job_leaves_the_old_queue_and_goes_out_here(
    old: OldSystem, bull: OldBull
) -> None:
    """Whatever list it stands in; the queue is paused, and a worker that starts again finds nothing."""
    jobs = dict(pending(old, bull, **options) for options in KINDS.values())
    report = adopt(old.engine, bull.url)
    assert stages(old) == dict.fromkeys(jobs, "scheduled")
    assert (report.removed, report.strangers, report.problems) == (4, 0, ())
    queue = read_old_queue(bull.url, list(jobs.values()))
    assert (queue.paused, queue.known, queue.jobs) == (True, frozenset(), {})
    bull.resume()
    assert bull.take() is None


def test_a_job_whose_row_does_not_know_its_number_is_found_by_its_data(
    old: OldSystem, bull: OldBull
) -> None:
    """The old system died between adding the job and noting its number."""
    job, bull_id = pending(old, bull)
    with old.engine.begin() as connection:
        connection.execute(text('UPDATE scheduled_jobs SET "bullJobId" = NULL'))
    assert adopt(old.engine, bull.url).removed == 1
    assert stages(old) == {job: "scheduled"}
    assert not bull.client.exists(f"bull:publish:{bull_id}")


@pytest.mark.parametrize("end", ["failed", "stalled"])
def test_what_an_old_worker_has_begun_goes_to_review(
    old: OldSystem, bull: OldBull, end: str
) -> None:
    """Its row still says PENDING; only BullMQ knows that it was tried."""
    job, bull_id = pending(old, bull, attempts=3)
    assert bull.take(end) == bull_id
    adopt(old.engine, bull.url)
    assert stages(old) == {job: "review"}
    assert read_old_queue(bull.url, [bull_id]).known == frozenset()


def test_a_worker_at_work_is_waited_for_and_the_queue_stays_paused(
    old: OldSystem, bull: OldBull
) -> None:
    """Nothing is taken over meanwhile; when it has ended, the same command does it."""
    pending(old, bull)
    later, _ = pending(old, bull)
    held = bull.take()
    with pytest.raises(StateConflictError, match="1 jobs in its workers' hands"):
        adopt(old.engine, bull.url)
    assert old.rows() == {}
    assert is_running(bull.url) is False
    bull.client.delete(f"bull:publish:{held}:lock")
    adopt(old.engine, bull.url)
    assert sorted(stages(old).values()) == ["review", "scheduled"]
    assert stages(old)[later] == "scheduled"


def test_what_no_row_asks_for_stays_in_the_old_queue(old: OldSystem, bull: OldBull) -> None:
    """And so does what would come back by itself; both are told."""
    stranger = bull.add({"scheduledJobId": "of another system"})
    job, bull_id = pending(old, bull)
    bull.client.hset(f"bull:publish:{bull_id}", "rjk", "every-hour")
    bull.client.zadd("bull:publish:repeat", {"every-hour": 1})
    report = adopt(old.engine, bull.url)
    assert (report.removed, report.strangers) == (0, 1)
    assert "job scheduler" in report.problems[0]
    assert stages(old) == {}
    assert read_old_queue(bull.url, []).jobs.keys() == {stranger, bull_id}
    bull.client.delete("bull:publish:repeat")
    adopt(old.engine, bull.url)
    assert stages(old) == {job: "scheduled"}


def test_another_redis_than_the_old_systems_is_refused(old: OldSystem, bull: OldBull) -> None:
    """Jobs name a queue that is not there: the old workers may run elsewhere."""
    account, content = old.account("YOUTUBE"), old.content()
    old.job(content, [account], bullJobId="17")
    with pytest.raises(StateConflictError, match="is REDIS_URL the old system's"):
        adopt(old.engine, bull.url)
    assert old.rows() == {}
    adopt(old.engine, bull.url, queue_is_gone=True)
    assert list(stages(old).values()) == ["scheduled"]
    assert bull.names() == set()


def test_a_job_that_an_old_worker_began_after_the_take_over_is_told_and_waits(
    old: OldSystem, bull: OldBull
) -> None:
    """It is not removed: while it is there, its post is not sent."""
    job, _ = pending(old, bull)
    adopt(old.engine, bull.url)
    bull.resume()
    again = bull.add({"scheduledJobId": job}, attempts=3)
    assert bull.take("failed") == again
    report = adopt(old.engine, bull.url)
    assert "was begun after its post was taken over" in report.problems[0]
    assert read_old_queue(bull.url, [again]).known == {again}


class Killed(BaseException):
    """As sudden as a kill: nothing of ours catches it."""


def test_killed_at_any_step_it_goes_on_and_does_nothing_twice(
    engine: Engine, bull: OldBull
) -> None:
    """At each step in turn: afterwards the rows are those of a take-over that nobody disturbed."""
    outcome = None
    step = 0
    while True:
        old = OldSystem(engine)
        jobs = [pending(old, bull)[0] for _ in range(2)]
        begun, _ = pending(old, bull, attempts=2)
        started = read_old_queue(bull.url, []).jobs
        bull.client.hset(f"bull:publish:{max(started, key=int)}", "ats", "1")
        steps: list[str] = []

        def kill(name: str, steps: list[str] = steps, at: int = step) -> None:
            steps.append(name)
            if len(steps) > at:
                raise Killed

        try:
            adopt(engine, bull.url, watch=kill)
        except Killed:
            if steps[-1] != "adopted":
                assert set(stages(old)) & set(jobs) == set()
        undisturbed = len(steps) <= step
        adopt(engine, bull.url)
        found = stages(old)
        assert {found[job] for job in jobs} == {"scheduled"}
        assert found[begun] == "review"
        assert len([row for row in old.rows().values() if row["scheduledJobId"] in found]) == len(
            found
        )
        assert read_old_queue(bull.url, []).jobs == {}
        left = {key for key in bull.names() if key.split(":")[2].isdigit()}
        outcome = outcome or left
        assert left == outcome
        if undisturbed:
            break
        step += 1
        bull.resume()
    assert step >= 7, steps


def test_old_keys_are_forgotten_only_when_told_and_the_queue_stays_paused(
    old: OldSystem, bull: OldBull
) -> None:
    """Refused while an open job is there; then every key goes but the mark."""
    pending(old, bull)
    bull.client.set("bull:analytics:meta", "x")
    bull.client.set("mine", "x")
    with pytest.raises(StateConflictError, match="has not been adopted; first: minitik adopt"):
        forget(old.engine, bull.url)
    adopt(old.engine, bull.url)
    assert forgettable(old.engine, bull.url)["analytics"] == 1
    forget(old.engine, bull.url)
    assert set(bull.client.keys("*")) == {"mine", "bull:publish:meta"}
    assert is_running(bull.url) is False
    assert old.rows("audit_log")


def test_the_due_instant_survives_the_take_over(old: OldSystem, bull: OldBull) -> None:
    """The database's instant counts, whatever delay the old queue had."""
    job, _ = pending(old, bull, delay=60_000)
    adopt(old.engine, bull.url)
    (row,) = old.rows().values()
    stored = old.rows("scheduled_jobs")[job]["scheduledAt"]
    assert abs(row["dueAt"] - stored) < timedelta(milliseconds=1)


def test_what_the_old_api_adds_meanwhile_is_left_and_told(
    engine: Engine, old: OldSystem, bull: OldBull
) -> None:
    """An old worker could have it: neither a row nor a job that came after the last look is taken over."""
    known, _ = pending(old, bull)
    added: list[str] = []

    def add(step: str) -> None:
        if step.startswith("removed"):
            # One job as the old system leaves it, one whose number was not noted yet.
            added.append(pending(old, bull)[0])
            late, _ = pending(old, bull, delay=3_600_000)
            with engine.begin() as connection:
                forgot = 'UPDATE scheduled_jobs SET "bullJobId" = NULL WHERE id = :id'
                connection.execute(text(forgot), {"id": late})
            added.append(late)

    report = adopt(engine, bull.url, watch=add)
    assert stages(old) == {known: "scheduled"}
    [told] = report.problems
    assert told.startswith("2 jobs came from the old system meanwhile and are not taken over")
    assert len(read_old_queue(bull.url, []).jobs) == 2
    assert adopt(engine, bull.url).problems == ()
    assert stages(old) == dict.fromkeys((known, *added), "scheduled")
    assert read_old_queue(bull.url, []).jobs == {}

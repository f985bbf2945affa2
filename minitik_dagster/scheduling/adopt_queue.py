"""Open jobs and the old queue's jobs of them: tied together, noted, and removed there one by one."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Engine, RowMapping, text
from sqlalchemy.orm import Session

from minitik_dagster.errors import StateConflictError
from minitik_dagster.resilience.old_queue import OldJob, OldQueue, OldState, read_old_queue
from minitik_dagster.resilience.old_queue_changes import Removal, remove_old_jobs
from minitik_dagster.scheduling import adopt_queries as queries

_UNTOUCHED: Final = frozenset({OldState.WAITING, OldState.DELAYED, OldState.ADRIFT})
_OPEN: Final = frozenset({OldState.WAITING, OldState.DELAYED, OldState.ACTIVE})
_LEFT: Final[Mapping[Removal, str]] = {
    Removal.OF_A_SCHEDULER: "belongs to a job scheduler of the old system, which would add it again",
    Removal.OF_A_FLOW: "is part of a flow of jobs",
}


@dataclass(frozen=True)
class Ties:
    """Which job of the old queue is whose.

    `jobs` says, by the old queue's id, which open job of the database it is; `named` are the old ids that
    open jobs not taken over yet name; `resumed` the jobs already taken over that a worker began since;
    `open` every open job of the database that is not taken over yet.
    """

    queue: OldQueue
    jobs: Mapping[str, str] = field(default_factory=dict)
    named: tuple[str, ...] = ()
    resumed: tuple[str, ...] = ()
    open: frozenset[str] = frozenset()

    @property
    def begun(self) -> set[str]:
        """The open jobs that a worker of the old system has begun."""
        return {
            job_id
            for bull_id, job_id in self.jobs.items()
            if not self.queue.jobs[bull_id].untouched
        }

    @property
    def strangers(self) -> list[str]:
        """Jobs open in the old queue that no open job asks for."""
        tied = {*self.jobs, *self.resumed}
        return sorted(
            job.id for job in self.queue.jobs.values() if job.state in _OPEN and job.id not in tied
        )

    @property
    def problems(self) -> list[str]:
        """What a person has to know of it."""
        found = [
            f"job {bull_id} of the old queue was begun after its post was taken over: the post waits; "
            "look at the account, stop the old workers, then remove the job"
            for bull_id in self.resumed
        ]
        if self._foreign:
            found.append(
                f"this Redis holds no queue `publish`, though {len(self.named)} open jobs name one: "
                "is REDIS_URL the old system's?"
            )
        return found

    @property
    def _foreign(self) -> bool:
        return bool(self.named) and not self.queue.exists

    def require_the_old_systems_redis(self, *, gone: bool) -> None:
        """Raise StateConflictError where another Redis may hold the queue, and its workers run."""
        if self._foreign and not gone:
            raise StateConflictError(
                f"{self.problems[-1]} Set it; if the old queue was deleted: --queue-is-gone",
                state="absent",
            )


def tie(session: Session, redis_url: str) -> Ties:
    """Ask Redis and the database what belongs together; DependencyDownError when Redis is silent.

    A job is known by `bullJobId`, or by its own id among the values of the BullMQ job's data: a crash
    between adding and noting left the row without it.
    """
    rows = session.execute(text(queries.OPEN_JOBS)).mappings().all()
    by_bull_id = {row["bull_job_id"]: row for row in rows if row["bull_job_id"]}
    by_id = {row["id"]: row for row in rows}
    noted = set(session.execute(text(queries.NOTED)).scalars())
    queue = read_old_queue(redis_url, list(by_bull_id))
    jobs: dict[str, str] = {}
    resumed: list[str] = []
    for bull_id, old in queue.jobs.items():
        row = by_bull_id.get(bull_id) or _named_in(old, by_id)
        if row is None:
            continue
        if row["ours"] and not old.untouched:
            resumed.append(bull_id)
        else:
            jobs[bull_id] = row["id"]
    named = tuple(
        bull_id for bull_id, row in by_bull_id.items() if not row["ours"] and bull_id not in noted
    )
    waiting = frozenset(row["id"] for row in rows if not row["ours"])
    return Ties(queue, jobs, named, tuple(resumed), waiting)


def _named_in(old: OldJob, rows: Mapping[str, RowMapping]) -> RowMapping | None:
    for value in old.data.values():
        if isinstance(value, str) and value in rows:
            return rows[value]
    return None


def note(session: Session, ties: Ties) -> None:
    """Write down what the old queue says of each job that is to leave it."""
    for bull_id, job_id in ties.jobs.items():
        old = ties.queue.jobs[bull_id]
        values = {
            "bull_job_id": bull_id,
            "job_id": job_id,
            "state": old.state.value,
            "attempts": old.attempts,
        }
        session.execute(text(queries.NOTE), values)


def begun_jobs(session: Session) -> set[str]:
    """Return the jobs of which a note says that a worker of the old system has begun them."""
    return {
        row["job_id"]
        for row in session.execute(text(queries.NOTED)).mappings()
        if row["attempts"] or OldState(row["state"]) not in _UNTOUCHED
    }


def remove(
    engine: Engine, redis_url: str, ties: Ties, watch: Callable[[str], None]
) -> tuple[set[str], list[str], int]:
    """Take the noted jobs out of the old queue.

    Return the open jobs that must stay there, why, and how many left. StateConflictError where a worker
    has locked one meanwhile.
    """
    left: set[str] = set()
    problems = [line for line in ties.problems if ties.resumed]
    removed = 0
    leaving = _unrecorded(engine, ties) | dict(ties.jobs)
    for bull_id, how in remove_old_jobs(redis_url, leaving):
        job_id = leaving[bull_id]
        if how is Removal.LOCKED:
            raise StateConflictError(
                f"a worker of the old system has taken job {bull_id}; stop the workers, and run this "
                "again when it has ended",
                state="active",
            )
        if how in _LEFT:
            left.add(job_id)
            problems.append(
                f"job {bull_id} of the old queue {_LEFT[how]}: it is left with its post"
            )
            continue
        removed += how is Removal.REMOVED
        watch(f"removed {bull_id}")
        with engine.begin() as connection:
            connection.execute(text(queries.REMOVED), {"bull_job_id": bull_id})
    return left, problems, removed


def _unrecorded(engine: Engine, ties: Ties) -> dict[str, str]:
    with engine.connect() as connection:
        rows = connection.execute(text(queries.UNRECORDED)).mappings()
        return {
            row["bull_job_id"]: row["job_id"]
            for row in rows
            if row["bull_job_id"] not in ties.resumed
        }


def look_for_latecomers(
    session: Session, redis_url: str, ties: Ties, left: Collection[str]
) -> tuple[frozenset[str], list[str]]:
    """Look once more, right before the publications are made: the old API may not have been stopped.

    Return the open jobs that may be taken over, and what a person has to know. A job that came to the
    database or to the old queue meanwhile is not among them: an old worker could have it.
    """
    again = tie(session, redis_url)
    back = {bull_id for bull_id, job_id in again.jobs.items() if job_id not in left}
    may_be = ties.open - {again.jobs[bull_id] for bull_id in back}
    late = len(back) + len(again.open - ties.open - {*again.jobs.values()})
    if not late:
        return may_be, []
    told = (
        f"{late} jobs came from the old system meanwhile and are not taken over: stop its API, "
        "then run this again"
    )
    return may_be, [told]

"""What Redis still holds of the old system's queue `publish` (BullMQ, prefix `bull`).

`bull:publish:meta` has a field `paused` while the queue is paused, `bull:publish:active` lists what its
workers have in hand, and each job it knows is a hash `bull:publish:<id>`, locked by `bull:publish:<id>:lock`
while a living worker works on it (BullMQ documentation, "Pausing queues" and "Stalled jobs"; key and field
names as the scripts of BullMQ 4 to 6 write them). What is changed there is in `old_queue_changes`.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import redis as redis_client
from redis.exceptions import RedisError

from minitik_dagster.errors import StateConflictError
from minitik_dagster.resilience.connections import engine_client, operator_client

QUEUE: Final = "bull:publish"
OLD_QUEUES: Final = ("publish", "analytics", "token-refresh", "dead-letter")
# Which list or set a job stands in; BullMQ's own order, the one that a removal looks through.
_SETS: Final = ("completed", "waiting-children", "delayed", "failed", "prioritized")
_LISTS: Final = ("wait", "paused", "active")
_AT_ONCE: Final = 500


class OldState(StrEnum):
    """Where the old queue has a job."""

    WAITING = "waiting"
    DELAYED = "delayed"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    ADRIFT = "adrift"
    """A hash in no list: left by a crash."""


_STATE_OF: Final = {
    "wait": OldState.WAITING,
    "paused": OldState.WAITING,
    "prioritized": OldState.WAITING,
    "waiting-children": OldState.WAITING,
    "delayed": OldState.DELAYED,
    "active": OldState.ACTIVE,
    "completed": OldState.COMPLETED,
    "failed": OldState.FAILED,
}


@dataclass(frozen=True)
class OldJob:
    """One job of the old queue: where it stands, how often it was begun, and what it says."""

    id: str
    state: OldState
    attempts: int
    locked: bool
    of_a_scheduler: bool
    data: Mapping[str, Any]

    @property
    def untouched(self) -> bool:
        """No worker has ever begun it: nothing can have been posted."""
        return self.attempts == 0 and self.state in {
            OldState.WAITING,
            OldState.DELAYED,
            OldState.ADRIFT,
        }


@dataclass(frozen=True)
class OldQueue:
    """The queue as it stands.

    `jobs` are those that are open there, or were asked for by their ids; `known` the ids, of those asked
    for, that it holds; `counts` how many stand where; `in_hand` the ids a living worker has locked.
    """

    exists: bool
    paused: bool
    known: frozenset[str]
    jobs: Mapping[str, OldJob] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def in_hand(self) -> list[str]:
        """The jobs a living worker has in hand."""
        return sorted(job.id for job in self.jobs.values() if job.locked)

    def require_idle(self) -> None:
        """Raise StateConflictError unless its workers can take nothing and have nothing in hand."""
        if self.exists and not self.paused:
            raise StateConflictError(
                "the old queue `publish` is not paused, so its workers would post too; pause it, "
                "keep it paused, and run this again",
                state="running",
            )
        if self.in_hand:
            raise StateConflictError(
                f"the old queue `publish` has {len(self.in_hand)} jobs in its workers' hands; wait "
                "until they have ended, stop the workers, and run this again",
                state="active",
            )


def read_old_queue(redis_url: str, job_ids: Collection[str]) -> OldQueue:
    """Ask Redis for the queue, its open jobs, and those of `job_ids` wherever they stand.

    Raises DependencyDownError when it does not answer.
    """
    with operator_client(redis_url) as client:
        # At one instant: a job that a worker moves between two lists must not be missed in both.
        pipeline = client.pipeline(transaction=True)
        pipeline.exists(f"{QUEUE}:meta")
        pipeline.hexists(f"{QUEUE}:meta", "paused")
        for name in _LISTS:
            pipeline.lrange(f"{QUEUE}:{name}", 0, -1)
        for name in ("delayed", "prioritized", "waiting-children"):
            pipeline.zrange(f"{QUEUE}:{name}", 0, -1)
        pipeline.zcard(f"{QUEUE}:completed")
        pipeline.zcard(f"{QUEUE}:failed")
        exists, paused, *standing, completed, failed = pipeline.execute()
        names = (*_LISTS, "delayed", "prioritized", "waiting-children")
        places = {job_id: name for name, ids in zip(names, standing, strict=True) for job_id in ids}
        # What older versions put into the lists to wake their workers is no job.
        places = {job_id: name for job_id, name in places.items() if not job_id.startswith("0:")}
        counts = {name: len(ids) for name, ids in zip(names, standing, strict=True) if ids}
        counts |= {name: n for name, n in (("completed", completed), ("failed", failed)) if n}
        wanted = dict.fromkeys((*places, *job_ids))
        jobs = {job.id: job for job in _read_jobs(client, wanted, places)}
    return OldQueue(
        exists=bool(exists or jobs),
        paused=bool(paused),
        known=frozenset(job_ids) & frozenset(jobs),
        jobs=jobs,
        counts=counts,
    )


def _read_jobs(
    client: "redis_client.Redis", ids: Iterable[str], places: Mapping[str, str]
) -> Iterator[OldJob]:
    every = list(ids)
    for start in range(0, len(every), _AT_ONCE):
        some = every[start : start + _AT_ONCE]
        pipeline = client.pipeline(transaction=False)
        for job_id in some:
            pipeline.exists(f"{QUEUE}:{job_id}")
            pipeline.hmget(f"{QUEUE}:{job_id}", ["data", "ats", "atm", "attemptsMade", "rjk"])
            pipeline.exists(f"{QUEUE}:{job_id}:lock")
            pipeline.zscore(f"{QUEUE}:completed", job_id)
            pipeline.zscore(f"{QUEUE}:failed", job_id)
        answers = pipeline.execute()
        for index, job_id in enumerate(some):
            found, values, locked, completed, failed = answers[index * 5 : index * 5 + 5]
            if not found:
                continue
            place = places.get(job_id)
            if place is None:
                place = "completed" if completed is not None else None
                place = "failed" if failed is not None else place
            data, *counters, scheduler = values
            yield OldJob(
                id=job_id,
                state=_STATE_OF[place] if place is not None else OldState.ADRIFT,
                attempts=max(int(value or 0) for value in counters),
                locked=bool(locked),
                of_a_scheduler=scheduler is not None,
                data=_data(data),
            )


def _data(stored: str | None) -> Mapping[str, Any]:
    try:
        found = json.loads(stored or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def is_running(redis_url: str) -> bool | None:
    """Whether the old queue is there and not paused; DependencyDownError when Redis does not answer."""
    with operator_client(redis_url) as client:
        pipeline = client.pipeline(transaction=False)
        pipeline.exists(f"{QUEUE}:meta")
        pipeline.hexists(f"{QUEUE}:meta", "paused")
        exists, paused = pipeline.execute()
    return bool(exists) and not paused


class OldQueueGuard:
    """The engine's second guard: whether an old worker could still post a job (contracts.md)."""

    def __init__(self, redis_url: str | None) -> None:
        self._url = redis_url

    async def has(self, bull_job_id: str) -> bool:
        """Return True while `bull:publish:<id>` exists, or when Redis cannot be asked."""
        if self._url is None:
            return True
        client = engine_client(self._url)
        try:
            return bool(await client.exists(f"{QUEUE}:{bull_job_id}"))
        except RedisError:
            return True
        finally:
            await client.aclose()

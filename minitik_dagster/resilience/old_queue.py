"""What Redis still holds of the old system's queue `publish` (BullMQ, prefix `bull`).

`bull:publish:meta` has a field `paused` while the queue is paused, `bull:publish:active` lists what its
workers have in hand, and each job it knows is a hash `bull:publish:<id>` (BullMQ documentation, "Pausing
queues"; key names as BullMQ 5 writes them).
"""

from collections.abc import Collection
from dataclasses import dataclass

from redis.exceptions import RedisError

from minitik_dagster.errors import StateConflictError
from minitik_dagster.resilience.connections import engine_client, operator_client

_QUEUE = "bull:publish"


@dataclass(frozen=True)
class OldQueue:
    """The queue as it stands; `known` are the ids, of those asked for, that it still holds."""

    exists: bool
    paused: bool
    active: int
    known: frozenset[str]

    def require_idle(self) -> None:
        """Raise StateConflictError unless its workers can take nothing and have nothing in hand."""
        if self.exists and not self.paused:
            raise StateConflictError(
                "the old queue `publish` is not paused, so its workers would post too; pause it, "
                "keep it paused, and run this again",
                state="running",
            )
        if self.active:
            raise StateConflictError(
                f"the old queue `publish` has {self.active} jobs in its workers' hands; wait until "
                "they have ended, stop the workers, and run this again",
                state="active",
            )


def read_old_queue(redis_url: str, job_ids: Collection[str]) -> OldQueue:
    """Ask Redis; DependencyDownError when it does not answer."""
    ids = list(job_ids)
    with operator_client(redis_url) as client:
        pipeline = client.pipeline(transaction=False)
        pipeline.exists(f"{_QUEUE}:meta")
        pipeline.hexists(f"{_QUEUE}:meta", "paused")
        pipeline.llen(f"{_QUEUE}:active")
        for job_id in ids:
            pipeline.exists(f"{_QUEUE}:{job_id}")
        exists, paused, active, *known = pipeline.execute()
    held = (job_id for job_id, found in zip(ids, known, strict=True) if found)
    return OldQueue(bool(exists), bool(paused), int(active), frozenset(held))


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
            return bool(await client.exists(f"{_QUEUE}:{bull_job_id}"))
        except RedisError:
            return True
        finally:
            await client.aclose()

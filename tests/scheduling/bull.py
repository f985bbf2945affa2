"""The old system's queue, by BullMQ itself: added to, worked on, paused and removed from as it does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import redis
from bullmq import Job, Queue, Worker

QUEUE = "publish"


class OldBull:
    """The queue `publish` of a Redis server."""

    def __init__(self, redis_url: str) -> None:
        self.url = redis_url
        self.client: Any = redis.Redis.from_url(redis_url, decode_responses=True)

    def add(self, data: dict[str, Any], **options: Any) -> str:
        """Add a job; return BullMQ's id."""

        async def work(queue: Any) -> str:
            job = await queue.add("publish", data, options)
            return str(job.id)

        return str(self._with_queue(work))

    def remove(self, job_id: str) -> None:
        """Remove a job as BullMQ does."""

        async def work(queue: Any) -> None:
            job = await Job.fromId(queue, job_id)
            await job.remove()

        self._with_queue(work)

    def pause(self) -> None:
        """Pause the queue as BullMQ does."""
        self._with_queue(lambda queue: queue.pause())

    def resume(self) -> None:
        """Resume the queue as BullMQ does."""
        self._with_queue(lambda queue: queue.resume())

    def take(self, end: str | None = None) -> str | None:
        """Let a worker take the next job; return its id, None where it gets none.

        `end`: `failed`, or `stalled` (the worker died: its lock ran out); else it holds the job.
        """

        async def main() -> str | None:
            worker = Worker(QUEUE, _never, {"connection": self.url, "autorun": False})
            job = await worker.moveToActive("a token")
            if job is not None and end == "failed":
                await job.moveToFailed(ValueError("the platform said no"), "a token")
            await worker.close(force=True)
            return None if job is None else str(job.id)

        job_id = asyncio.run(main())
        if end == "stalled":
            self.client.delete(f"bull:publish:{job_id}:lock")
        return job_id

    def names(self) -> set[str]:
        """Every key of the queue."""
        return set(self.client.keys("bull:publish:*"))

    def told(self) -> list[dict[str, str]]:
        """What the stream of events says, oldest first."""
        return [event for _, event in self.client.xrange("bull:publish:events")]

    def standing(self) -> dict[str, Any]:
        """All that the queue's keys hold, but for the events' ids."""
        found: dict[str, Any] = {"events": self.told()}
        for key in sorted(self.names() - {"bull:publish:events"}):
            kind = self.client.type(key)
            read: dict[str, Callable[[str], Any]] = {
                "string": self.client.get,
                "hash": self.client.hgetall,
                "list": lambda name: self.client.lrange(name, 0, -1),
                "zset": lambda name: self.client.zrange(name, 0, -1),
                "set": self.client.smembers,
            }
            found[key] = read[kind](key)
        return found

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def _with_queue(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            queue = Queue(QUEUE, {"connection": self.url})
            try:
                return await work(queue)
            finally:
                await queue.close()

        return asyncio.run(main())


async def _never(_job: Any, _token: str) -> None:
    await asyncio.Event().wait()

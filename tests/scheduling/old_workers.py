"""Old workers at work: BullMQ's own of today, and one of its versions before 5, which asks the list alone."""

import asyncio
import threading
from typing import Any, Self

import redis
from bullmq import Worker
from sqlalchemy import Engine, text

_QUEUE = "bull:publish"
_WORK_SECONDS = 0.02
_COMPLETED = "UPDATE scheduled_jobs SET status = 'COMPLETED' WHERE id = :id"


class OldWorkers:
    """Four at a time until `stop`; `posted` are the rows they sent, in this order, as often as they did.

    The row says PENDING until the post is out: only BullMQ knows meanwhile that it was begun.
    """

    def __init__(self, redis_url: str, engine: Engine, *, of_today: bool) -> None:
        self.posted: list[str] = []
        self._url, self._engine = redis_url, engine
        self._over = threading.Event()
        count = 1 if of_today else 4
        work = self._work_as_bullmq if of_today else self._work_as_before_version_5
        self._threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _work_as_bullmq(self) -> None:
        async def process(job: Any, _token: str) -> None:
            await asyncio.to_thread(self._post, job.data["scheduledJobId"])

        async def main() -> None:
            options: Any = {"connection": self._url, "concurrency": 4}
            worker = Worker("publish", process, options)
            await asyncio.to_thread(self._over.wait)
            await worker.close()

        asyncio.run(main())

    def _work_as_before_version_5(self) -> None:
        """BRPOPLPUSH from the list, whatever `meta` says; the lock comes with the next command."""
        with redis.Redis.from_url(self._url, decode_responses=True) as client:
            while not self._over.is_set():
                number = client.blmove(
                    f"{_QUEUE}:wait", f"{_QUEUE}:active", 0.1, src="RIGHT", dest="LEFT"
                )
                if number is None:
                    continue
                job = f"{_QUEUE}:{number}"
                begun = client.pipeline()
                begun.set(f"{job}:lock", "a token", px=30_000)
                begun.hincrby(job, "attemptsMade", 1)
                begun.hget(job, "data")
                *_, data = begun.execute()
                if data is not None:
                    # Its data is one flat object of strings.
                    self._post(data.split('"scheduledJobId":')[1].split('"')[1])
                ended = client.pipeline()
                ended.lrem(f"{_QUEUE}:active", 1, str(number))
                ended.delete(f"{job}:lock", job)
                ended.execute()

    def _post(self, job_id: str) -> None:
        self.posted.append(job_id)
        self._over.wait(_WORK_SECONDS)
        with self._engine.begin() as connection:
            connection.execute(text(_COMPLETED), {"id": job_id})

"""A deployment of the old system with a few hundred pending jobs, kept as a copy that each trial gets anew."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import redis
from bullmq import Queue
from sqlalchemy import Engine, text

from minitik_dagster.db.engine import make_engine
from minitik_dagster.local.servers.postgres import PostgresServer
from tests.scheduling.bull import OldBull
from tests.scheduling.legacy import OldSystem, load

_HOUR_MS = 3_600_000
# What stands in the queue, by how a job was added; each kind so often.
KINDS: dict[str, dict[str, Any]] = {
    "waiting": {},
    "delayed": {"delay": _HOUR_MS},
    "prioritized": {"priority": 5},
    "of a known name": {"jobId": "post-{}"},
    "without its number": {"delay": _HOUR_MS},
}
EACH = 44
BEGUN = 5
_TABLES = """
SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename
"""


@dataclass
class OldDeployment:
    """What was there: `expected` says what becomes of each open job, `strangers` what nobody asks for.

    `kept` are the jobs that adoption leaves to the old queue: a job scheduler would add them again.
    """

    server: PostgresServer
    redis_url: str
    template: str
    expected: dict[str, str] = field(default_factory=dict)
    strangers: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    _keys: dict[str, tuple[bytes, int]] = field(default_factory=dict)

    def build(self) -> None:
        """Fill both servers, then keep what they hold."""
        self.server.create_database(self.template)
        url = self.server.database_url(self.template)
        engine = make_engine(url)
        load(engine, url)
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()
        bull = OldBull(self.redis_url)
        try:
            self._fill(OldSystem(engine), bull)
        finally:
            engine.dispose()
            bull.close()
        with redis.Redis.from_url(self.redis_url) as client:
            for key in client.keys("*"):
                self._keys[key] = (client.dump(key), max(client.pttl(key), 0))

    def restore(self, name: str) -> None:
        """Put both servers back to what was kept; the database under this name."""
        self.server.create_database(name, template=self.template)
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()
            pipeline = client.pipeline(transaction=False)
            for key, (value, lives_ms) in self._keys.items():
                pipeline.restore(key, lives_ms, value)
            pipeline.execute()

    def _fill(self, old: OldSystem, bull: OldBull) -> None:
        accounts = [old.account("YOUTUBE") for _ in range(6)]

        def job(number: int, **columns: Any) -> tuple[str, str]:
            content = old.content()
            return content, old.job(content, [accounts[number % len(accounts)]], **columns)

        # Those that a worker is to begin come first: it takes the oldest.
        begun = [job(number) for number in range(2 * BEGUN)]
        retried = {"attempts": 3, "backoff": {"type": "fixed", "delay": _HOUR_MS}}
        self._queue(old, bull, begun, [retried] * len(begun), number=True)
        for end in ("failed", "stalled"):
            for _ in range(BEGUN):
                assert bull.take(end) is not None
        self.expected |= {job_id: "review" for _, job_id in begun}
        for kind, options in KINDS.items():
            rows = [job(number) for number in range(EACH)]
            each = [
                {
                    name: value.format(content) if isinstance(value, str) else value
                    for name, value in options.items()
                }
                for content, _ in rows
            ]
            self._queue(old, bull, rows, each, number=kind != "without its number")
            self.expected |= {job_id: "scheduled" for _, job_id in rows}
        self._fill_what_was_sent(old, bull, accounts)
        self._fill_what_is_not_ours(old, bull, job(0))

    def _fill_what_was_sent(self, old: OldSystem, bull: OldBull, accounts: list[str]) -> None:
        for status, stage in (
            ("QUEUED", "scheduled"),
            ("PUBLISHED", "live"),
            ("PUBLISHING", "review"),
            ("FAILED", "failed"),
        ):
            content = old.content()
            rows = [(content, old.job(content, accounts[:1]))]
            self._queue(old, bull, rows, [{}], number=True)
            posted = {"platformPostId": "a post"} if status == "PUBLISHED" else {}
            old.publication(content, accounts[0], "YOUTUBE", status=status, **posted)
            self.expected[rows[0][1]] = stage
            # And the same without a job: history.
            old.publication(old.content(), accounts[1], "YOUTUBE", status=status)
        content = old.content()
        self.expected[old.job(content, accounts[:1], bullJobId="removed by hand")] = "scheduled"

    def _fill_what_is_not_ours(self, old: OldSystem, bull: OldBull, kept: tuple[str, str]) -> None:
        self._queue(old, bull, [kept], [{}], number=True)
        (number,) = bull.client.lrange("bull:publish:wait", 0, 0)
        bull.client.hset(f"bull:publish:{number}", "rjk", "every-hour")
        bull.client.zadd("bull:publish:repeat", {"every-hour": 1})
        self.kept.add(number)
        for options in ({}, {"delay": _HOUR_MS}, {"priority": 2}):
            self.strangers.add(bull.add({"scheduledJobId": "of another system"}, **options))
        # Ended, and to be kept as it is.
        gone = old.content()
        old.job(gone, ["an account"], status="COMPLETED", completedAt=old.now - timedelta(hours=1))
        bull.client.set("circuit_breaker:tiktok:state", "OPEN")
        bull.client.set("rate_limit:youtube:app:86400:1", "7")
        bull.client.hset("bull:analytics:meta", "opts.maxLenEvents", "10000")
        bull.client.lpush("bull:token-refresh:wait", "1")
        bull.client.set("of somebody else", "x")

    def _queue(
        self,
        old: OldSystem,
        bull: OldBull,
        rows: list[tuple[str, str]],
        options: list[dict[str, Any]],
        *,
        number: bool,
    ) -> None:
        jobs: list[Any] = [
            {
                "name": "publish",
                "data": {"scheduledJobId": job_id, "contentId": content},
                "opts": each,
            }
            for (content, job_id), each in zip(rows, options, strict=True)
        ]

        async def add() -> list[str]:
            queue = Queue("publish", {"connection": bull.url})
            try:
                return [str(made.id) for made in await queue.addBulk(jobs)]
            finally:
                await queue.close()

        numbers = asyncio.run(add())
        if number:
            with old.engine.begin() as connection:
                connection.execute(
                    text('UPDATE scheduled_jobs SET "bullJobId" = :bull WHERE id = :id'),
                    [
                        {"bull": bull_id, "id": job_id}
                        for (_, job_id), bull_id in zip(rows, numbers, strict=True)
                    ],
                )


def everything(engine: Engine) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    with engine.connect() as connection:
        tables = list(connection.execute(text(_TABLES)).scalars())
        return {
            table: sorted(
                connection.execute(text(f'SELECT t::text FROM "{table}" t')).scalars()  # noqa: S608
            )
            for table in tables
        }

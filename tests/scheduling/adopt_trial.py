"""One take-over of an old deployment by real `minitik adopt` processes, killed at exact messages."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymongo
import redis
from sqlalchemy import make_url, text

from minitik_dagster.db.engine import make_engine
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.resilience.old_queue import is_running, read_old_queue
from minitik_dagster.scheduling.adopt import adopt
from tests.scheduling.bull import OldBull
from tests.scheduling.gate import Gate
from tests.scheduling.old_deployment import OldDeployment, everything

SECONDS = 120
_PUBLICATIONS = """
SELECT p."scheduledJobId" AS job, p."contentId" AS content, p."accountId" AS account, p.stage,
    p.status::text AS status, p."dueAt" AS due, p."prepareAt" AS prepare, p."holdReason" AS reason,
    p."errorCode" AS error, p."platformPostId" AS post
FROM publications p ORDER BY 1, 2, 3, 4
"""
_OLD_JOBS = """
SELECT "bullJobId" AS number, "jobId" AS job, state, attempts, "removedAt" IS NOT NULL AS removed
FROM old_jobs ORDER BY 1
"""
_JOBS = """
SELECT id, status::text AS status, "bullJobId", "scheduledAt", "accountIds"
FROM scheduled_jobs ORDER BY id
"""
_HELD_TWICE = """
SELECT "scheduledJobId" FROM publications WHERE "scheduledJobId" IS NOT NULL
GROUP BY "scheduledJobId", "accountId" HAVING count(*) > 1
"""


@dataclass(frozen=True)
class KillPoint:
    """Where it is killed: the last message of `route` to that server is held, or its answer."""

    name: str
    server: str
    route: tuple[str, ...]
    answered: bool = False

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


@dataclass(frozen=True)
class Outcome:
    """What a take-over leaves: rows without their own ids and times, and all of the old queue's keys."""

    publications: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    queue: dict[str, Any]


class Trial:
    """One database and one queue as the old system left them, and `minitik adopt` on them."""

    def __init__(
        self, deployment: OldDeployment, database: str, environment: Mapping[str, str]
    ) -> None:
        deployment.restore(database)
        self.deployment = deployment
        self.database_url = deployment.server.database_url(database)
        self.environment = dict(environment)
        self.engine = make_engine(self.database_url)
        self.bull = OldBull(deployment.redis_url)
        self.at_first = self.elsewhere()

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        self.bull.close()

    def gate(self, point: KillPoint) -> Gate:
        """A gate before the point's server."""
        url = self.database_url if point.server == "postgres" else self.bull.url
        port = make_url(url).port
        assert port is not None
        return Gate(port, [part.encode() for part in point.route], answered=point.answered)

    def start(self, gates: Mapping[str, Gate] | None = None) -> "subprocess.Popen[str]":
        """Start the command as an operator does, a server behind its gate where there is one."""
        urls = {"postgres": self.database_url, "redis": self.bull.url}
        for name, gate in (gates or {}).items():
            behind = make_url(urls[name]).set(port=gate.port)
            urls[name] = behind.render_as_string(hide_password=False)
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("minitik")), "adopt", "--yes"],
            env={
                **inherited,
                **self.environment,
                "DATABASE_URL": urls["postgres"],
                "REDIS_URL": urls["redis"],
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self) -> tuple[int, str]:
        """Run it to its end: exit code, and all that it said."""
        process = self.start()
        out, err = process.communicate(timeout=SECONDS)
        return process.returncode, out + err

    def kill_at(self, point: KillPoint) -> None:
        """SIGKILL it while that message, or its answer, is held."""
        with self.gate(point) as gate:
            process = self.start({point.server: gate})
            held = gate.reached.wait(SECONDS)
            process.send_signal(signal.SIGKILL)
            out, err = process.communicate(timeout=SECONDS)
        assert held, f"{point} was not reached: {out}{err}"
        assert process.returncode == -signal.SIGKILL

    def kill_after(self, seconds: float) -> None:
        """SIGKILL it so long after it first spoke to the database; it may have ended by then."""
        with self.gate(KillPoint("none", "postgres", ())) as gate:
            process = self.start({"postgres": gate})
            assert gate.touched.wait(SECONDS)
            try:
                process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate(timeout=SECONDS)

    def stages(self) -> dict[str, str]:
        """Each job's publication's stage; every job has one account here."""
        return {row["job"]: row["stage"] for row in self._rows(_PUBLICATIONS) if row["job"]}

    def elsewhere(self) -> dict[str, Any]:
        """What is none of the queue `publish`'s: other keys, documents, objects."""
        with redis.Redis.from_url(self.bull.url) as client:
            keys = {
                key: client.dump(key)
                for key in client.keys("*")
                if not key.startswith(b"bull:publish:")
            }
        mongo: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            self.environment["MONGODB_URI"]
        )
        with mongo:
            database = mongo.get_default_database()
            documents = {
                name: list(database[name].find()) for name in database.list_collection_names()
            }
        store = ObjectStore(
            bucket=self.environment["AWS_S3_BUCKET"],
            endpoint_url=self.environment["AWS_ENDPOINT_URL_S3"],
        )
        listed = store.client.list_objects_v2(Bucket=self.environment["AWS_S3_BUCKET"])
        objects = {item["Key"]: item["ETag"] for item in listed["Contents"]}
        return {"keys": keys, "documents": documents, "objects": objects}

    def outcome(self) -> Outcome:
        """What is there now."""
        return Outcome(
            publications=self._rows(_PUBLICATIONS),
            notes=self._rows(_OLD_JOBS),
            jobs=self._rows(_JOBS),
            queue=self.bull.standing(),
        )

    def assert_nothing_is_lost_or_doubled(self) -> None:
        """At any moment: what is taken over has left the queue, and nothing has left it unknown."""
        jobs = {row["id"]: row for row in self._rows("SELECT * FROM scheduled_jobs")}
        noted = {row["job"] for row in self._rows(_OLD_JOBS)}
        taken = self.stages()
        queued = self.queued()
        assert self._rows(_HELD_TWICE) == []
        assert taken.keys() & queued.keys() == set()
        gone = self.deployment.expected.keys() - taken.keys() - queued.keys() - noted
        assert {jobs[job]["bullJobId"] for job in gone} <= {"removed by hand"}
        assert self.elsewhere() == self.at_first

    def assert_taken_over(self, undisturbed: Outcome) -> None:
        """As if nobody had disturbed it; and once more changes nothing at all."""
        assert self.stages() == self.deployment.expected
        found = self.outcome()
        assert found.publications == undisturbed.publications
        assert found.notes == undisturbed.notes
        assert found.jobs == undisturbed.jobs
        assert found.queue == undisturbed.queue
        assert is_running(self.bull.url) is False
        self.assert_nothing_is_lost_or_doubled()
        before = (everything(self.engine), self.bull.standing())
        adopt(self.engine, self.bull.url)
        assert (everything(self.engine), self.bull.standing()) == before

    def assert_old_workers_find_nothing_of_ours(self) -> None:
        """Resumed, the old queue gives its workers nothing but what nobody asked us for."""
        self.bull.resume()
        found = set()
        while (number := self.bull.take()) is not None:
            found.add(number)
        delayed = set(self.bull.client.zrange("bull:publish:delayed", 0, -1))
        assert found | delayed <= self.deployment.strangers | self.deployment.kept

    def queued(self) -> dict[str, str]:
        """The jobs that a worker of the old system could still run, by what they say: their numbers."""
        queue = read_old_queue(self.bull.url, [])
        return {
            str(old.data["scheduledJobId"]): number
            for number, old in queue.jobs.items()
            if number not in self.deployment.strangers | self.deployment.kept
        }

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(sql)).mappings()]

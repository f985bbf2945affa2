"""`kill -9` of `minitik adopt --yes` at every step: each pending job changes hands exactly once.

Real processes on real servers. What they send passes a gate that holds one exact message, or its answer,
and there they are killed; and at random instants.
"""

import contextlib
import os
import random
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping

import pymongo
import pytest

from minitik_dagster.local.servers.postgres import PostgresServer
from minitik_dagster.local.servers.redis import RedisServer
from minitik_dagster.local.servers.s3 import S3Server
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.resilience.old_queue import is_running
from tests.accounts.scene import wait_for
from tests.mongo_guard import Guard
from tests.scheduling.adopt_trial import SECONDS, KillPoint, Outcome, Trial
from tests.scheduling.old_deployment import EACH, KINDS, OldDeployment
from tests.scheduling.old_workers import OldWorkers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

INSTANTS = 5
MANY = EACH * len(KINDS)
"""So many jobs at least are noted, and leave the queue after its pause (the first script)."""
NOTING, RECORDING, MAKING = (
    "INSERT INTO old_jobs",
    "UPDATE old_jobs",
    "INSERT INTO publications",
)
POINTS = [
    KillPoint("before the old queue is paused", "redis", ("EVAL",)),
    KillPoint("paused and not known", "redis", ("EVAL",), answered=True),
    KillPoint("before a job is noted", "postgres", (NOTING,)),
    KillPoint("among the notes", "postgres", (NOTING,) * (MANY // 2), answered=True),
    KillPoint("notes not committed", "postgres", (NOTING, "COMMIT")),
    KillPoint("notes committed and not known", "postgres", (NOTING, "COMMIT"), answered=True),
    KillPoint("before the first job is removed", "redis", ("EVAL",) * 2),
    KillPoint("first job removed and not known", "redis", ("EVAL",) * 2, answered=True),
    KillPoint("before the removal is recorded", "postgres", (RECORDING,)),
    KillPoint("removal not committed", "postgres", (RECORDING, "COMMIT")),
    KillPoint("removal committed and not known", "postgres", (RECORDING, "COMMIT"), answered=True),
    KillPoint("among the removals", "redis", ("EVAL",) * (MANY // 2), answered=True),
    KillPoint("late among the removals", "redis", ("EVAL",) * (MANY + 1), answered=True),
    KillPoint("before the rows are changed", "postgres", (MAKING,)),
    KillPoint("rows changed and not committed", "postgres", (MAKING,), answered=True),
    KillPoint("before the rows are committed", "postgres", ("pg_notify", "COMMIT")),
    KillPoint("rows committed and not known", "postgres", ("pg_notify", "COMMIT"), answered=True),
]


@pytest.fixture(scope="module")
def deployment(postgres_server: PostgresServer, redis_server: RedisServer) -> OldDeployment:
    """The old system with its pending jobs."""
    made = OldDeployment(postgres_server, redis_server.url, f"old_{secrets.token_hex(6)}")
    made.build()
    assert len(made.expected) > MANY
    return made


@pytest.fixture(scope="module")
def environment(mongo_server: Guard, s3_server: S3Server) -> Mapping[str, str]:
    """The old system's other stores, with something in each."""
    name = f"old_{secrets.token_hex(6)}"
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(mongo_server.url)
    with client:
        client[name]["dashboards"].insert_one({"_id": 1, "of": "the old system"})
    s3_server.create_bucket(name.replace("_", "-"))
    ObjectStore(bucket=name.replace("_", "-"), endpoint_url=s3_server.url).put(
        "content/a/b/video.mp4", b"video", "video/mp4"
    )
    return {
        "MONGODB_URI": f"{mongo_server.url}{name}",
        "AWS_ENDPOINT_URL_S3": s3_server.url,
        "AWS_S3_BUCKET": name.replace("_", "-"),
        "AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
        "ENCRYPTION_KEY": "ab" * 32,
    }


@pytest.fixture
def trial(deployment: OldDeployment, environment: Mapping[str, str]) -> Iterator[Trial]:
    """Everything as the old system left it."""
    database = f"trial_{secrets.token_hex(6)}"
    made = Trial(deployment, database, environment)
    yield made
    made.close()
    deployment.server.drop_database(database)


@pytest.fixture(scope="module")
def undisturbed(deployment: OldDeployment, environment: Mapping[str, str]) -> tuple[Outcome, float]:
    """What a take-over that nobody disturbs leaves, and how many seconds it takes."""
    database = f"trial_{secrets.token_hex(6)}"
    trial = Trial(deployment, database, environment)
    with trial.gate(KillPoint("none", "postgres", ())) as gate:
        process = trial.start({"postgres": gate})
        assert gate.touched.wait(SECONDS)
        began = time.monotonic()
        out, err = process.communicate(timeout=SECONDS)
        took = time.monotonic() - began
    assert (process.returncode, err) == (0, ""), err
    assert out.endswith("adopted\n")
    assert trial.stages() == deployment.expected
    found = trial.outcome()
    assert {note["removed"] for note in found.notes if note["number"] not in deployment.kept} == {
        True
    }
    trial.close()
    deployment.server.drop_database(database)
    return found, took


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_killed_at_any_step_every_pending_job_changes_hands_exactly_once(
    point: KillPoint, trial: Trial, undisturbed: tuple[Outcome, float]
) -> None:
    """The same command goes on, and leaves what it would have left; old workers find nothing of ours."""
    trial.kill_at(point)
    trial.assert_nothing_is_lost_or_doubled()
    code, said = trial.run()
    assert code == 0, said
    trial.assert_taken_over(undisturbed[0])
    trial.assert_old_workers_find_nothing_of_ours()


@pytest.mark.parametrize("number", range(INSTANTS))
def test_killed_at_a_random_instant_and_again_it_goes_on(
    number: int, trial: Trial, undisturbed: tuple[Outcome, float]
) -> None:
    """One of five stretches of its work, somewhere in it; then once more anywhere."""
    outcome, took = undisturbed
    instants = [took * (number + random.random()) / INSTANTS, took * random.random()]
    for seconds in instants:
        trial.kill_after(seconds)
        trial.assert_nothing_is_lost_or_doubled()
    code, said = trial.run()
    assert code == 0, (instants, said)
    trial.assert_taken_over(outcome)
    trial.assert_old_workers_find_nothing_of_ours()


def test_two_at_once_do_it_once(trial: Trial, undisturbed: tuple[Outcome, float]) -> None:
    """Impatience after a kill: the one that comes second finds nothing left to do."""
    processes = [trial.start(), trial.start()]
    for process in processes:
        out, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, out + err
    trial.assert_taken_over(undisturbed[0])
    trial.assert_old_workers_find_nothing_of_ours()


@pytest.mark.parametrize("point", [None, *POINTS[:2]], ids=str)
def test_no_row_is_taken_over_while_a_worker_has_a_job_in_hand(
    point: KillPoint | None, trial: Trial
) -> None:
    """Killed or not, it refuses, and the queue stays paused; when the worker has ended, it goes on."""
    held = trial.bull.take()
    assert held is not None
    lock = f"bull:publish:{held}:lock"
    trial.bull.client.persist(lock)
    if point is not None:
        trial.kill_at(point)
    code, said = trial.run()
    assert (code, "1 jobs in its workers' hands" in said) == (1, True), said
    assert trial.stages() == {}
    assert is_running(trial.bull.url) is False
    trial.bull.client.delete(lock)
    assert_the_begun_one_goes_to_review(trial, held)


def test_a_job_that_a_worker_takes_among_the_removals_stops_the_take_over(trial: Trial) -> None:
    """By the moves of a worker that does not ask whether the queue is paused; no row is taken over."""
    point = KillPoint("among the removals", "redis", ("EVAL",) * (MANY // 2))
    with trial.gate(point) as gate:
        process = trial.start({"redis": gate})
        assert gate.reached.wait(SECONDS)
        numbers = {number: job for job, number in trial.queued().items()}
        [*_, held] = (
            number
            for number in trial.bull.client.lrange("bull:publish:paused", 0, -1)
            if number in numbers
        )
        trial.bull.client.lrem("bull:publish:paused", 1, held)
        trial.bull.client.lpush("bull:publish:active", held)
        trial.bull.client.set(f"bull:publish:{held}:lock", "a token")
        trial.bull.client.hincrby(f"bull:publish:{held}", "ats", 1)
        gate.open()
        _, said = process.communicate(timeout=SECONDS)
    assert (process.returncode, f"has taken job {held}" in said) == (1, True), said
    assert trial.stages() == {}
    trial.assert_nothing_is_lost_or_doubled()
    assert trial.run()[0] == 1
    trial.bull.client.delete(f"bull:publish:{held}:lock")
    assert_the_begun_one_goes_to_review(trial, held)


def assert_the_begun_one_goes_to_review(trial: Trial, held: str) -> None:
    job = next(job for job, number in trial.queued().items() if number == held)
    code, said = trial.run()
    assert code == 0, said
    assert trial.stages() == trial.deployment.expected | {job: "review"}
    trial.assert_nothing_is_lost_or_doubled()
    trial.assert_old_workers_find_nothing_of_ours()


@pytest.mark.parametrize("killed", [False, True], ids=["undisturbed", "killed"])
@pytest.mark.parametrize("of_today", [True, False], ids=["bullmq", "before-version-5"])
def test_beside_old_workers_at_work_no_job_ends_with_both(
    trial: Trial, *, of_today: bool, killed: bool
) -> None:
    """They post what they have until the pause; it refuses until they have ended; the rest is ours."""
    point = POINTS[0]
    with OldWorkers(trial.bull.url, trial.engine, of_today=of_today) as workers:
        with trial.gate(point) as gate:
            process = trial.start({"redis": gate})
            assert gate.reached.wait(SECONDS)
            wait_for(lambda: len(workers.posted) > 20, "the old workers' posts")
            gate.open()
            if killed:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=random.random())
                process.kill()
            out, err = process.communicate(timeout=SECONDS)
        codes = [process.returncode]
        while codes[-1] != 0:
            assert codes[-1] < 0 or "hands" in out + err or "has taken" in out + err, out + err
            code, out = trial.run()
            codes.append(code)
    expected, stages = trial.deployment.expected.keys(), trial.stages()
    posted = Counter(job for job in workers.posted if job in expected)
    assert set(posted.values()) == {1}
    assert posted.keys() | stages.keys() >= expected
    both = posted.keys() & {job for job, stage in stages.items() if stage == "scheduled"}
    assert both == set()
    assert len(posted) < MANY
    assert trial.queued() == {}
    assert is_running(trial.bull.url) is False
    trial.assert_old_workers_find_nothing_of_ours()

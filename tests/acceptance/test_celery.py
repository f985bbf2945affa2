"""Runs on Celery workers: the same jobs by another dagster.yaml, on two workers, one killed in mid-flight."""

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import redis
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG

from minitik_dagster.local import probes
from minitik_dagster.local.data_folder import DataFolder
from minitik_dagster.local.endpoints import environment_beside
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.settings import Settings
from tests.acceptance.stack import ended, home_folder, start_stack
from tests.acceptance.test_gameday import (
    CODE_SERVER,
    DAEMON,
    Day,
    assert_on_time,
    assert_public_once,
    wait_for_stage,
    wait_until,
)
from tests.publishing.kill_harness import QUICK_PLATFORMS

pytestmark = [
    pytest.mark.celery,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("celery"),  # one stack
]
DAGSTER_YAML = Path(__file__).parent.parent.parent / "deploy" / "celery" / "dagster.yaml"


@dataclass
class Scaled:
    """A stack whose runs are launched through Celery, and its workers by name."""

    day: Day
    workers: dict[str, ChildProcess]

    def dispatchers(self) -> dict[int, str]:
        """The living dispatchers' processes, each with its worker's name ("" where it is no worker's)."""
        pids = self.day.rows('SELECT pid FROM dispatchers WHERE "endedAt" IS NULL')
        return {pid: self._worker_of(pid) for (pid,) in pids if psutil.pid_exists(pid)}

    def _worker_of(self, pid: int) -> str:
        for name, worker in self.workers.items():
            if worker.pid is not None:
                family = psutil.Process(worker.pid).children(recursive=True)
                if pid in {child.pid for child in family}:
                    return name
        return ""

    def newest_run(self) -> str:
        """The run of the dispatcher that began last."""
        sql = 'SELECT "runId" FROM dispatchers ORDER BY "startedAt" DESC LIMIT 1'
        return str(self.day.rows(sql)[0][0])


def status_of(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def _is_ready(log: Path) -> bool:
    return "ready." in log.read_text()


@pytest.fixture(scope="module")
def scaled() -> Iterator[Scaled]:
    """`minitik up`, its daemon begun again with the other dagster.yaml, and two workers beside it."""
    workers: dict[str, ChildProcess] = {}
    with home_folder() as home, pytest.MonkeyPatch.context() as patch:
        data = home / "data"
        stack = start_stack(data)
        try:
            for name, value in environment_beside(DataFolder(data)).items():
                patch.setenv(name, value)
            port = urlsplit(stack.endpoints["sandbox"]).port
            assert port is not None
            sandbox = SandboxServer(home / "unused", port=port)
            sandbox.set_limits(**QUICK_PLATFORMS)
            bench = Workbench(Settings(), sandbox)
            day = Day(stack, bench, {}, home / "data.out")
            code_server = day.part(CODE_SERVER)
            assert code_server is not None
            environment = code_server.environ()
            for name in ("DAGSTER_HOME", "DAGSTER_POSTGRES_URL", "REDIS_URL"):
                patch.setenv(name, environment[name])
            shutil.copyfile(DAGSTER_YAML, data / "dagster" / "dagster.yaml")
            day.end_dispatchers()
            day.kill(DAEMON)
            killed = time.time()
            for name in ("first", "second"):
                workers[name] = ChildProcess(
                    name,
                    [
                        *(sys.executable, "-m", "celery"),
                        *("--app", "minitik_dagster.resources.celery_worker", "worker"),
                        *("--hostname", f"{name}@%h", "--concurrency", "1"),
                        *("--without-gossip", "--without-mingle", "--loglevel", "INFO"),
                    ],
                    log=home / f"{name}.log",
                    env=environment,
                    cwd=data / "dagster",
                    grace_seconds=30.0,
                )
                workers[name].start()
            for worker in workers.values():
                worker.wait_until(partial(_is_ready, worker.log), timeout_seconds=60)
            wait_until(
                lambda: probes.daemons_beat_since(day.dagster(), killed), "the daemon", seconds=90
            )
            yield Scaled(day, workers)
            bench.close()
        finally:
            for worker in workers.values():
                worker.stop()
            stack.process.terminate()
            stack.process.wait(timeout=60)


def test_a_run_goes_to_a_worker_and_its_posts_go_out_once(scaled: Scaled) -> None:
    """The sensor asks, the queue passes it on, a worker executes it: nothing else has changed."""
    scaled.day.assert_all_goes_on()
    assert set(scaled.dispatchers().values()) <= {"first", "second"}
    assert scaled.dispatchers()


def test_a_worker_killed_in_mid_flight_costs_no_post_and_leaves_its_run_started(
    scaled: Scaled,
) -> None:
    """Its posts go out once, by a run on the other worker; its own run is ended by its longest time."""
    [name] = scaled.dispatchers().values()
    killed = scaled.newest_run()
    video, ids = scaled.day.post(15)
    wait_for_stage(scaled.day, ids, "prepared")
    family = psutil.Process(scaled.workers[name].pid).children(recursive=True)
    scaled.workers[name].kill()
    assert ended(family)
    wait_for_stage(scaled.day, ids, "live")
    assert_public_once(scaled.day, video)
    [other] = scaled.dispatchers().values()
    assert {name, other} == {"first", "second"}
    with DagsterInstance.get() as instance:
        # All that Celery knows of it is the last word of the worker that died.
        run = instance.get_run_by_id(killed)
        assert run is not None
        health = instance.run_launcher.check_run_worker_health(run)
        assert (run.status, health.status) == (DagsterRunStatus.STARTED, WorkerStatus.RUNNING)
        # What ends it is `max_runtime_seconds`; shortened for this one run.
        assert instance.run_monitoring_max_runtime_seconds == 1_200
        assert instance.run_monitoring_poll_interval_seconds == 30
        instance.add_run_tags(killed, {MAX_RUNTIME_SECONDS_TAG: "1"})
        wait_until(
            lambda: status_of(instance, killed) is DagsterRunStatus.FAILURE, "its end", seconds=90
        )
        living = scaled.newest_run()
        assert living != killed
        assert status_of(instance, living) is DagsterRunStatus.STARTED
    assert_public_once(scaled.day, video)
    scaled.workers[name].stop()
    scaled.workers[name].start()
    scaled.workers[name].wait_until(
        partial(_is_ready, scaled.workers[name].log), timeout_seconds=60
    )


def test_a_workers_process_killed_alone_is_told_by_the_worker(scaled: Scaled) -> None:
    """As the kernel does when memory ends: the run fails at the monitor's next look, the posts go out."""
    [(pid, name)] = scaled.dispatchers().items()
    killed = scaled.newest_run()
    video, ids = scaled.day.post(15)
    wait_for_stage(scaled.day, ids, "prepared")
    psutil.Process(pid).kill()
    wait_for_stage(scaled.day, ids, "live")
    assert_public_once(scaled.day, video)
    with DagsterInstance.get() as instance:
        wait_until(
            lambda: status_of(instance, killed) is DagsterRunStatus.FAILURE, "its end", seconds=90
        )
        failures = instance.all_logs(killed, of_type=DagsterEventType.RUN_FAILURE)
        assert "Celery task failed" in failures[-1].message
    assert scaled.workers[name].pid is not None


def test_a_worker_that_is_stopped_gives_back_what_it_holds(scaled: Scaled) -> None:
    """SIGTERM ends its run well and at once; started again it takes runs as before."""
    [(pid, name)] = scaled.dispatchers().items()
    video, ids = scaled.day.post(25)
    wait_for_stage(scaled.day, ids, "prepared")
    worker = scaled.workers[name]
    # The worker alone is signalled, as its unit does; its run's window is 15 minutes.
    process = psutil.Process(worker.pid)
    process.terminate()
    process.wait(timeout=20)
    worker.stop()
    # A killed one could not have said so.
    told = scaled.day.rows('SELECT pid, "endedAt" FROM dispatchers ORDER BY "startedAt"')
    assert dict(tuple(row) for row in told)[pid] is not None
    worker.start()
    rows = wait_for_stage(scaled.day, ids, "live")
    assert_on_time(rows)
    assert_public_once(scaled.day, video)


def test_the_brokers_keys_stand_apart(scaled: Scaled) -> None:
    """Every key of Celery's begins with the prefix: the same Redis holds the breakers and limits."""
    client = redis.Redis.from_url(scaled.day.stack.endpoints["redisUrl"])
    try:
        names = [key.decode() for key in client.scan_iter()]
    finally:
        client.close()
    celerys = [name for name in names if "celery" in name or "kombu" in name or "dagster" in name]
    assert celerys
    assert all(name.startswith("minitik:celery:") for name in celerys), celerys

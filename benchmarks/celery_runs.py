"""What a Celery worker carries: Dagster runs per second, by the number of its processes; and a run's cost.

    python benchmarks/celery_runs.py [--runs 30] [--processes 1,2] [--json]

Runs of the job tidy_uploads, which finds nothing to do, launched by the launcher of
deploy/celery/dagster.yaml onto one worker. PostgreSQL (durable), Redis and the worker share the machine.
"""

import argparse
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.launcher import LaunchRunContext
from servers import Ground, ground, machine

_JOB = "tidy_uploads"
_DONE = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]


def _launch(instance: DagsterInstance, count: int, batch: str) -> None:
    from minitik_dagster.definitions import defs

    repository = ReconstructableRepository.for_module("minitik_dagster.definitions", "defs")
    origin = ReconstructableJob(repository=repository, job_name=_JOB).get_python_origin()
    job = defs.resolve_job_def(_JOB)
    for _ in range(count):
        run = instance.create_run_for_job(job, job_code_origin=origin, tags={"batch": batch})
        instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))


def _wait(instance: DagsterInstance, count: int, batch: str) -> None:
    finished = RunsFilter(statuses=_DONE, tags={"batch": batch})
    while instance.get_runs_count(finished) < count:
        time.sleep(0.05)
    failed = RunsFilter(statuses=_DONE[1:], tags={"batch": batch})
    assert instance.get_runs_count(failed) == 0


def _one(base: Ground, instance: DagsterInstance, processes: int, runs: int) -> dict[str, Any]:
    worker = base.program(
        f"worker-{processes}",
        *("celery", "--app", "minitik_dagster.resources.celery_worker", "worker"),
        *("--concurrency", str(processes), "--without-gossip", "--without-mingle"),
        *("--loglevel", "INFO"),
        DAGSTER_HOME=os.environ["DAGSTER_HOME"],
        DAGSTER_POSTGRES_URL=os.environ["DAGSTER_POSTGRES_URL"],
    )
    worker.start()
    try:
        worker.wait_until(lambda: "ready." in worker.log.read_text(), timeout_seconds=120)
        # Each process imports the definitions with its first run.
        _launch(instance, 2 * processes, f"warm-{processes}")
        _wait(instance, 2 * processes, f"warm-{processes}")
        family = psutil.Process(worker.pid)
        # All of them wait in the broker before the first is taken: what is measured is the worker alone.
        everyone = [family, *family.children(recursive=True)]
        for process in everyone:
            process.suspend()
        launching = time.monotonic()
        _launch(instance, runs, f"measured-{processes}")
        launched = time.monotonic() - launching
        began, cpu = time.monotonic(), _cpu(family)
        for process in everyone:
            process.resume()
        _wait(instance, runs, f"measured-{processes}")
        took, used = time.monotonic() - began, _cpu(family) - cpu
        memory = [child.memory_info().rss / 2**20 for child in family.children()]
    finally:
        worker.stop()
    return {
        "processes": processes,
        "runs": runs,
        "seconds": round(took, 2),
        "runs_per_second": round(runs / took, 2),
        "launches_per_second": round(runs / launched, 2),
        "cpu_seconds_per_run": round(used / runs, 3),
        "largest_process_mib": round(max(memory)),
    }


def _cpu(parent: psutil.Process) -> float:
    times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def measure(runs: int, processes: list[int]) -> list[dict[str, Any]]:
    """Run once; return the figures of each number of processes."""
    with ground() as base:
        base.postgres.create_database("dagster")
        home = base.folder / "dagster"
        home.mkdir()
        shutil.copy(Path(__file__).parents[1] / "deploy" / "celery" / "dagster.yaml", home)
        os.environ.update(base.environment)
        os.environ.update(
            {
                "DAGSTER_POSTGRES_URL": base.postgres.database_url("dagster"),
                "DAGSTER_HOME": str(home),
            }
        )
        with DagsterInstance.from_config(str(home)) as instance:
            return [_one(base, instance, number, runs) for number in processes]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    before = machine()
    figures = measure(chosen.runs, [int(part) for part in chosen.processes.split(",")])
    if chosen.json:
        print(json.dumps({"machine": before, "workers": figures}, indent=2))
        return
    print("machine:", before)
    for row in figures:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()

"""Runs that a crash of the whole stack left behind: told to Dagster as failed, so that they hold no slot.

Only on the database server that this stack has just started itself: the processes of an earlier stack spoke
to another port and cannot have gone on. Dagster alone would notice after `max_runtime_seconds`, 20 minutes:
its default launcher cannot ask for a run's health (`supports_check_run_worker_health` is false, 1.13).
"""

import sys
from collections.abc import Sequence

import psycopg

_IN_PROGRESS = ["STARTING", "STARTED", "CANCELING"]
_REASON = "Its stack ended (crash or kill -9) while it ran; found by the next start of minitik up."


def find_dead_runs(dagster_url: str) -> list[str]:
    """Return the ids of runs in progress; to be asked before anything can start a new one."""
    with psycopg.connect(dagster_url) as connection:
        table = connection.execute("SELECT to_regclass('runs') IS NOT NULL").fetchone()
        if table != (True,):
            return []
        query = "SELECT run_id FROM runs WHERE status = ANY(%s) ORDER BY id"
        return [run_id for (run_id,) in connection.execute(query, [_IN_PROGRESS])]


def fail_runs(run_ids: Sequence[str]) -> None:
    """Report the runs as failed to the instance of DAGSTER_HOME; those that have ended are left."""
    # A process of its own does this: the supervisor must not keep Dagster's 70 MB.
    from dagster import DagsterInstance

    with DagsterInstance.get() as instance:
        for run_id in run_ids:
            run = instance.get_run_by_id(run_id)
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, _REASON)


if __name__ == "__main__":
    fail_runs(sys.argv[1:])

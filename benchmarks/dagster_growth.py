"""What Dagster's storage grows by: bytes per run and per tick, a month of it, and what `maintain` holds.

    python benchmarks/dagster_growth.py [--runs 60] [--ticks 2000] [--json]

The job check_publications, run as it is on PostgreSQL with this project's dagster.yaml; then the job
`maintain`'s own clearing as if a year had passed, and VACUUM FULL to see what is left of the tables.
"""

import argparse
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from dagster import DagsterInstance
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickData, TickStatus
from report import tell
from servers import ground, machine

# Runs and ticks of a day by the schedules and sensors of definitions.py; a resident dispatcher's windows
# are materializations without a run.
RUNS_A_DAY = {
    "refresh_tokens": 288,
    "check_publications": 96,
    "reconcile_publications": 48,
    "publish_due_posts": 96,
    "maintain and forecast": 2,
}
TICKS_A_DAY = 86_400 // 5 + 2 * 86_400 // 30 + 288 + 96 + 24 + 2
_SIZE = """
SELECT COALESCE(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind = 'r' AND c.relname = ANY(%s)
"""
_RUN_TABLES = ["runs", "run_tags", "event_logs", "asset_keys", "asset_check_executions",
               "snapshots", "dynamic_partitions", "asset_event_tags"]  # fmt: skip
_TICK_TABLES = ["job_ticks"]


def _size(url: str, tables: list[str]) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        # Without the slack of half-filled pages a small sample would look large.
        connection.execute("VACUUM FULL")
        row = connection.execute(_SIZE, [tables]).fetchone()
    assert row is not None
    return int(row[0])


def _ticks(instance: DagsterInstance, count: int) -> None:
    now = datetime.now(UTC).timestamp()
    for number in range(count):
        instance.create_tick(
            TickData(
                instigator_origin_id="origin",
                instigator_name="due_posts",
                instigator_type=InstigatorType.SENSOR,
                status=TickStatus.SKIPPED,
                timestamp=now + number,
                skip_reason="nothing is due that no live dispatcher will take",
                selector_id="selector",
            )
        )


def measure(runs: int, ticks: int) -> dict[str, Any]:
    """Run once; return the figures."""
    with ground() as base:
        base.postgres.create_database("dagster")
        url = base.postgres.database_url("dagster")
        home = base.folder / "dagster"
        home.mkdir()
        shutil.copy(Path(__file__).parents[1] / "dagster.yaml", home)
        os.environ.update({"DAGSTER_POSTGRES_URL": url, "DAGSTER_HOME": str(home)})
        from minitik_dagster.definitions import defs
        from minitik_dagster.resources.dagster_upkeep import clear_dagster

        job = defs.resolve_job_def("check_publications")
        with DagsterInstance.from_config(str(home)) as instance:
            assert job.execute_in_process(instance=instance).success
            first = _size(url, _RUN_TABLES)
            for _ in range(runs):
                assert job.execute_in_process(instance=instance).success
            after = _size(url, _RUN_TABLES)
            ticks_before = _size(url, _TICK_TABLES)
            _ticks(instance, ticks)
            per_tick = (_size(url, _TICK_TABLES) - ticks_before) / ticks
            cleared = clear_dagster(instance, now=datetime.now(UTC) + timedelta(days=365))
            left = _size(url, _RUN_TABLES)
    per_run = (after - first) / runs
    a_day = sum(RUNS_A_DAY.values())
    return {
        "runs": runs,
        "bytes_per_run": round(per_run),
        "bytes_per_tick": round(per_tick),
        "runs_a_day": a_day,
        "ticks_a_day": TICKS_A_DAY,
        "runs_a_month_mib": round(per_run * a_day * 30 / 2**20, 1),
        "ticks_a_month_without_retention_mib": round(per_tick * TICKS_A_DAY * 30 / 2**20, 1),
        "first_run_kib": round(first / 1024),
        "before_clearing_kib": round(after / 1024),
        "after_clearing_kib": round(left / 1024),
        "runs_cleared": cleared["Dagster runs with their events"],
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--ticks", type=int, default=2_000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    before = machine()
    figures = measure(chosen.runs, chosen.ticks)
    tell(before, figures, as_json=chosen.json, width=40)


if __name__ == "__main__":
    main()

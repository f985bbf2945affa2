"""How long the sensor's question takes on a backlog: 10 thousand, 1 million, 5 million pending jobs.

    python benchmarks/sensor.py [--jobs 10000,1000000,5000000] [--ticks 50] [--json]

Prints, per backlog, the due query, the claim that finds nothing due, and the sensor's whole tick. The
backlog lies in the coming 30 days, as a busy platform's would; nothing of it is due now.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from dagster import DagsterInstance, SkipReason, build_sensor_context
from servers import Ground, ground, machine
from sqlalchemy import Connection, text

from minitik_dagster.publishing import queries
from minitik_dagster.publishing.due import waiting
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.sensors.due_posts import due_posts

# One content and one account per thousand posts: the sizes of the tables around do not matter here.
_FILL = (
    "SET LOCAL session_replication_role = replica",
    """INSERT INTO scheduled_jobs (id, "contentId", "accountIds", "scheduledAt", timezone, priority,
        status, attempts, "maxAttempts", "createdAt", "updatedAt")
    SELECT 'j' || n, 'c' || n / 1000, ARRAY['a' || n / 1000], at, 'UTC', 'NORMAL', 'PENDING', 0, 3,
        at, at
    FROM (SELECT n, (statement_timestamp() AT TIME ZONE 'UTC') + interval '1 hour'
        + n * (interval '30 days' / CAST(:total AS int)) AS at
        FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n) s""",
    """INSERT INTO publications (id, "contentId", "accountId", platform, status, "createdAt",
        "updatedAt", "scheduledJobId", stage, "dueAt", "prepareAt", attempts, priority, revision,
        "leaseToken", "confirmPolls")
    SELECT 'p' || substr(id, 2), "contentId", "accountIds"[1], 'TIKTOK', 'QUEUED', "createdAt",
        "createdAt", id, 'scheduled', "scheduledAt", "scheduledAt" - interval '10 minutes', 0,
        'NORMAL', 0, 0, 0
    FROM scheduled_jobs
    WHERE CAST(substr(id, 2) AS int) BETWEEN CAST(:first AS int) AND CAST(:last AS int)""",
)
_BATCH = 250_000


def fill(base: Ground, present: int, wanted: int) -> None:
    """Bring the backlog from `present` to `wanted` pending jobs, one publication each."""
    for first in range(present, wanted, _BATCH):
        with base.bench.engine.begin() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            last = min(first + _BATCH, wanted) - 1
            for statement in _FILL:
                connection.execute(text(statement), {"first": first, "last": last, "total": wanted})
    with base.bench.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE publications"))


def timed(run: Callable[[], object], times: int) -> dict[str, float]:
    """Run it `times` times and return p50 and max in milliseconds."""
    run()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        taken.append((time.perf_counter() - started) * 1000)
    return {"p50_ms": round(statistics.median(taken), 2), "max_ms": round(max(taken), 2)}


def measure(base: Ground, ticks: int) -> dict[str, Any]:
    """Measure one backlog."""
    lease = timedelta(seconds=30)
    found: dict[str, Any] = {}
    with base.bench.engine.connect() as connection:
        found["due query"] = timed(lambda: waiting(connection, lease=lease), ticks)
        found["claim"] = timed(lambda: _claim(connection), ticks)
        found["next wake"] = timed(
            lambda: connection.execute(text(queries.NEXT_WAKE), {"since": None}).all(),
            ticks,
        )
    with DagsterInstance.ephemeral() as instance:

        def tick() -> None:
            context = build_sensor_context(
                instance=instance, resources={"database": DatabaseResource()}
            )
            answer = due_posts(context)
            assert isinstance(answer, SkipReason), answer

        found["whole tick"] = timed(tick, ticks)
    return found


def _claim(connection: Connection) -> None:
    claimed = connection.execute(
        text(queries.CLAIM),
        {
            "owner": "bench",
            "lease": timedelta(seconds=30),
            "window_end": None,
            "since": None,
            "full": [],
            "limit": 2000,
        },
    ).all()
    assert claimed == []
    connection.rollback()


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", default="10000,1000000,5000000")
    parser.add_argument("--ticks", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    with ground() as base:
        present = 0
        for jobs in (int(part) for part in options.jobs.split(",")):
            fill(base, present, jobs)
            present = jobs
            results[str(jobs)] = measure(base, options.ticks)
            if not options.json:
                print(f"{jobs:>9,} pending jobs   load {machine()['load_1_5_15_min']}")
                for name, figures in results[str(jobs)].items():
                    print(
                        f"  {name:12} p50 {figures['p50_ms']:7.2f} ms   max {figures['max_ms']:7.2f} ms"
                    )
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()

"""How long 10,000 accounts due for a refresh take: time, requests in flight, memory, limits kept.

    python benchmarks/refresh.py [--accounts 10000] [--at-once 16] [--per-minute 100000] [--json]

Accounts of the three platforms in turn, all due, against the sandbox; the run is the schedule's own code in a
process of its own. The budgets are raised by MINITIK_LIMITS unless `--per-minute` says otherwise, and printed.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from report import tell
from servers import Ground, ground, machine
from sqlalchemy import text

from minitik_dagster.db.types import Platform

_RUN = """
import asyncio, json, time
from datetime import timedelta
from minitik_dagster.accounts.refresh_due import refresh_due
from minitik_dagster.settings import load_settings
began = time.monotonic()
report = asyncio.run(refresh_due(load_settings(), run_for=timedelta(hours=1)))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({**report.counts(), "most_in_flight": report.most_in_flight,
    "seconds": round(time.monotonic() - began, 1), "peak_mib": round(int(peak.split()[1]) / 1024, 1)}))
"""


def fill(base: Ground, accounts: int) -> None:
    """Connect accounts at the sandbox whose tokens end in ten minutes."""
    platforms = [list(Platform)[number % 3] for number in range(accounts)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(base.bench.add_account, platforms))
    with base.bench.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE accounts SET \"tokenExpiresAt\" = (statement_timestamp() AT TIME ZONE 'UTC') "
                "+ interval '10 minutes', \"tokenIssuedAt\" = "
                "(statement_timestamp() AT TIME ZONE 'UTC') - interval '2 days'"
            )
        )


def measure(accounts: int, at_once: int, per_minute: int) -> dict[str, Any]:
    """Run once; return the figures."""
    names = ("tiktok.refresh", "instagram.refresh", "youtube.refresh")
    limits = json.dumps(dict.fromkeys(names, per_minute))
    with ground(MINITIK_REFRESHES_AT_ONCE=str(at_once), MINITIK_LIMITS=limits) as base:
        base.bench.sandbox.set_limits(instagram={"refreshMinAgeSeconds": 0})
        fill(base, accounts)
        base.bench.sandbox.call("DELETE", "/_sandbox/calls")
        began = time.time()
        done = subprocess.run(
            [sys.executable, "-c", _RUN], capture_output=True, text=True, check=True
        )
        figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        calls = [call for call in base.bench.sandbox.calls() if call["operation"] == "token"]
        with base.bench.engine.connect() as connection:
            status = connection.execute(text("SELECT status, count(*) FROM accounts GROUP BY 1"))
            figures["status"] = {str(row[0]): row[1] for row in status}
        figures["calls_seen"] = dict(Counter(call["platform"] for call in calls))
        figures["per_second"] = round(figures["refreshed"] / figures["seconds"], 1)
        figures["budget_per_platform_and_minute"] = per_minute
        figures["at_once"] = at_once
        figures["wall_seconds"] = round(time.time() - began, 1)
        return figures


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--per-minute", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    before = machine()
    figures = measure(chosen.accounts, chosen.at_once, chosen.per_minute)
    tell(before, figures, as_json=chosen.json, width=32)


if __name__ == "__main__":
    main()

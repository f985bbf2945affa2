"""What reading numbers costs: one hour's readings of many posts, and of a tenth of them.

    python benchmarks/analytics.py [--accounts 2000] [--posts 100000] [--json]

The run is the asset's own code in a process of its own; MongoDB is the embedded server, which is what
most of the time goes to. Budgets are raised by MINITIK_LIMITS, and so are the sandbox's.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from report import tell
from servers import Ground, ground, machine
from sqlalchemy import text

from minitik_dagster.db.types import Platform
from minitik_dagster.local.ports import free_port
from minitik_dagster.local.servers.mongo import MongoServer
from minitik_dagster.local.workbench import Workbench

# The rung of the ladder at 37 days: its reading may be taken for a week, however long the run takes.
_PATIENT = timedelta(hours=888)
_LIMITS = {
    "tiktok.metrics": 1_000_000,
    "instagram.metrics": 1_000_000,
    "youtube.metrics": 1_000_000,
    "youtube.units": 1_000_000,
    "youtube.reports": 1_000_000,
}
_PEAK = """
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
"""
_INGEST = f"""
import asyncio, json, sys, time
from datetime import datetime
from minitik_dagster.analytics.reading import read_hours
from minitik_dagster.settings import load_settings
began = time.monotonic()
slot = datetime.fromisoformat(sys.argv[1])
report = asyncio.run(read_hours(load_settings(), [slot]))[slot]
seconds = time.monotonic() - began
{_PEAK}
print(json.dumps({{**report.counts(), "seconds": round(seconds, 1),
    "peak_mib": round(int(peak.split()[1]) / 1024, 1)}}))
"""


@contextlib.contextmanager
def stage() -> Iterator[Ground]:
    """The other benchmarks' ground, and MongoDB."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minitik-bench-")))
        mongo = stack.enter_context(MongoServer(folder / "mongo", port=free_port()))
        base = stack.enter_context(
            ground(MONGODB_URI=mongo.url, MINITIK_LIMITS=json.dumps(_LIMITS))
        )
        base.bench.sandbox.set_limits(
            youtube={"unitsPerDay": 10_000_000}, tiktok={"listPerMinute": 1_000_000}
        )
        yield base


def fill(
    bench: Workbench, platforms: list[Platform], posts_per_account: int, live_at: datetime
) -> None:
    """Connect an account for each platform named, with posts that are live at the sandbox."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bench.add_account, platforms))
    with bench.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(
            text(
                'INSERT INTO publications (id, "contentId", "accountId", platform, status, stage, '
                '"dueAt", "acceptedAt", "publishedAt", "verifiedAt", "committedAt", '
                '"platformPostId", "createdAt", "updatedAt", revision, "leaseToken") '
                "SELECT 'p' || n || '-' || a.id, 'c' || n || '-' || a.id, a.id, a.platform, "
                "'PUBLISHED', 'live', :live, :live, :live, :live, :live, "
                "'x' || n || '-' || a.id, :live, :live, 0, 0 "
                "FROM accounts a, generate_series(1, :posts) n"
            ),
            {"live": live_at.replace(tzinfo=None), "posts": posts_per_account},
        )
        connection.execute(text("ANALYZE publications"))
        rows = connection.execute(
            text(
                'SELECT lower(CAST(p.platform AS text)) AS platform, p."platformPostId" AS id, '
                'a."platformAccountId" AS account FROM publications p '
                'JOIN accounts a ON a.id = p."accountId"'
            )
        )
        at = int(live_at.timestamp() * 1000)
        posts = [{**row, "publishedAt": at} for row in rows.mappings()]
    for start in range(0, len(posts), 5_000):
        bench.sandbox.call("POST", "/_sandbox/posts", {"posts": posts[start : start + 5_000]})


def run(base: Ground, program: str, *arguments: str) -> dict[str, Any]:
    """Run a program in a process of its own; returns what its last line says."""
    environment = {**os.environ, **base.environment}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def ingest(accounts: int, posts: int) -> dict[str, Any]:
    """One hour's readings of so many posts, on the three platforms in turn; and of a tenth of them."""
    figures: dict[str, Any] = {}
    for name, size in (("a_tenth", accounts // 10), ("all", accounts)):
        slot = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        with stage() as base:
            platforms = [list(Platform)[number % 3] for number in range(size)]
            fill(base.bench, platforms, posts // accounts, slot - _PATIENT - timedelta(minutes=5))
            base.bench.sandbox.call("DELETE", "/_sandbox/calls")
            told = run(base, _INGEST, slot.isoformat())
            seen = Counter(call["platform"] for call in base.bench.sandbox.calls())
        told["posts_per_second"] = round(told["read"] / told["seconds"], 1)
        told["calls_seen"] = dict(seen)
        figures[name] = told
    return figures


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    before = machine()
    figures = ingest(chosen.accounts, chosen.posts)
    tell(before, figures, as_json=chosen.json)


if __name__ == "__main__":
    main()

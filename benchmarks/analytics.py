"""What reading numbers costs: ingest of many posts, a backfill of YouTube's history, the dashboard.

    python benchmarks/analytics.py ingest [--accounts 2000] [--posts 100000] [--json]
    python benchmarks/analytics.py backfill [--channels 20] [--days 365] [--json]
    python benchmarks/analytics.py dashboard [--people 50] [--days 60] [--readings 50000] [--json]

The runs are the assets' own code in a process of its own; MongoDB is the embedded server, which is what
most of the time goes to. Budgets are raised by MINITIK_LIMITS, and so are the sandbox's.
"""

import argparse
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any

from servers import Ground, ground, machine
from sqlalchemy import text

from minitik_dagster.analytics.dashboard import dashboard
from minitik_dagster.analytics.days import day_range
from minitik_dagster.analytics.metrics import NAMES
from minitik_dagster.analytics.names import DAILY
from minitik_dagster.analytics.readings import Series, document_of
from minitik_dagster.analytics.store import AnalyticsStore
from minitik_dagster.db.types import Platform
from minitik_dagster.local.ports import free_port
from minitik_dagster.local.servers.mongo import MongoServer
from minitik_dagster.platforms.port import PostMetrics

# The rung of the ladder at 37 days: its reading may be taken for a week, however long the run takes.
_PATIENT = timedelta(hours=888)
_LIMITS = {
    "tiktok.metrics": 1_000_000,
    "instagram.metrics": 1_000_000,
    "youtube.metrics": 1_000_000,
    "youtube.units": 1_000_000,
    "youtube.reports": 1_000_000,
}
_PEOPLES_ACCOUNTS = """
INSERT INTO accounts (id, "userId", platform, "platformAccountId", "accessToken", status, "connectedAt")
SELECT 'u' || p || '-' || a, 'u' || p, 'TIKTOK', 'u' || p || '-' || a, 'x', 'CONNECTED', '2026-01-01'
FROM generate_series(0, :people - 1) p, generate_series(0, 2) a
"""
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
_BACKFILL = f"""
import json, sys, time
from dagster import AssetKey, DagsterInstance, materialize
from minitik_dagster.assets.youtube_reports import youtube_daily_reports
from minitik_dagster.definitions import defs
began = time.monotonic()
with DagsterInstance.ephemeral() as instance:
    result = materialize([youtube_daily_reports], instance=instance, resources=defs.resources,
        tags={{"dagster/asset_partition_range_start": sys.argv[1],
              "dagster/asset_partition_range_end": sys.argv[2]}})
    events = result.get_asset_materialization_events()
seconds = time.monotonic() - began
{_PEAK}
told = {{name: value.value for name, value in events[0].materialization.metadata.items()}}
print(json.dumps({{"partitions": len(events), "seconds": round(seconds, 1),
    "peak_mib": round(int(peak.split()[1]) / 1024, 1),
    **{{name: told[name] for name in ("channels", "calls", "rows", "failed", "documents")}}}}))
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
    base: Ground, platforms: list[Platform], posts_per_account: int, live_at: datetime
) -> None:
    """Connect an account for each platform named, with posts that are live at the sandbox."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(base.bench.add_account, platforms))
    with base.bench.engine.begin() as connection:
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
        base.bench.sandbox.call("POST", "/_sandbox/posts", {"posts": posts[start : start + 5_000]})


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
            fill(base, platforms, posts // accounts, slot - _PATIENT - timedelta(minutes=5))
            base.bench.sandbox.call("DELETE", "/_sandbox/calls")
            told = run(base, _INGEST, slot.isoformat())
            seen = Counter(call["platform"] for call in base.bench.sandbox.calls())
        told["posts_per_second"] = round(told["read"] / told["seconds"], 1)
        told["calls_seen"] = dict(seen)
        figures[name] = told
    return figures


def backfill(channels: int, days: int) -> dict[str, Any]:
    """YouTube's reports of so many channels and days, as one Dagster run, twice."""
    today = datetime.now(UTC).date()
    first, last = today - timedelta(days=days + 2), today - timedelta(days=3)
    with stage() as base:
        begun = datetime.now(UTC) - timedelta(days=days + 5)
        fill(base, [Platform.YOUTUBE] * channels, 1, begun)
        once = run(base, _BACKFILL, first.isoformat(), last.isoformat())
        again = run(base, _BACKFILL, first.isoformat(), last.isoformat())
    return {"first": once, "again": again}


def dashboards(people: int, days: int, readings: int) -> dict[str, Any]:
    """The dashboard of one of many people: 3 accounts each, 10 posts a day in an account's rollup."""
    now = datetime.now(UTC)
    with stage() as base:
        store = AnalyticsStore(base.environment["MONGODB_URI"], "minitik_analytics")
        with base.bench.engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text(_PEOPLES_ACCOUNTS), {"people": people})
        began = time.monotonic()
        for n in range(days):
            day = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=n)
            rows = [_account_day(f"u{p}", a, day) for p in range(people) for a in range(3)]
            store.replace_partition(DAILY, f"{day:%Y-%m-%d}", rows, at=now)
        for start in range(0, readings, 10_000):
            store.insert([_reading(start + n, now) for n in range(10_000)])
        filled = time.monotonic() - began
        figures: dict[str, Any] = {
            "rollup_documents": store.database[DAILY].count_documents({}),
            "readings": readings,
            "fill_seconds": round(filled, 1),
        }
        for name in ("7d", "30d"):
            taken = []
            for person in range(40):
                began = time.monotonic()
                with base.bench.engine.connect() as connection:
                    user = f"u{person % people}"
                    dashboard(store, connection, user, day_range(name, now), now)
                taken.append((time.monotonic() - began) * 1000)
            cuts = quantiles(taken, n=20)
            figures[name] = {"p50_ms": round(cuts[9], 1), "p95_ms": round(cuts[18], 1)}
        store.close()
    return figures


def _account_day(user: str, account: int, day: datetime) -> dict[str, Any]:
    platform = list(Platform)[account]
    figure = {"increase": 7, "total": 70, "spanDays": 1, "corrected": False, "since": None}
    return {
        "_id": f"{user}-{account}",
        "day": day,
        "accountId": f"{user}-{account}",
        "userId": user,
        "platform": platform.value,
        "capturedAt": day + timedelta(hours=20),
        "totals": dict.fromkeys(("views", "likes", "comments", "shares"), 70),
        "posts": [
            {
                "publicationId": f"{user}-{account}-{n}",
                "contentId": f"{user}-{n}",
                "platformPostId": f"{n}",
                "capturedAt": day + timedelta(hours=20),
                "readings": 4,
                **dict.fromkeys(NAMES, figure),
            }
            for n in range(10)
        ],
    }


def _reading(number: int, now: datetime) -> dict[str, Any]:
    name = f"p{number % 5_000}"
    series = Series(name, name, "a", secrets.token_hex(4), Platform.TIKTOK, name, now)
    at = now - timedelta(hours=number // 5_000)
    return document_of(series, PostMetrics(name, views=number), at, at)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("ingest", "backfill", "dashboard"))
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument("--channels", type=int, default=20)
    parser.add_argument("--days", type=int, default=0)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--readings", type=int, default=50_000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    before = machine()
    if chosen.what == "ingest":
        figures = ingest(chosen.accounts, chosen.posts)
    elif chosen.what == "backfill":
        figures = backfill(chosen.channels, chosen.days or 365)
    else:
        figures = dashboards(chosen.people, chosen.days or 60, chosen.readings)
    if chosen.json:
        print(json.dumps({"machine": before, **figures}, indent=2))
        return
    print("machine:", before)
    for name, value in figures.items():
        print(f"{name:24} {value}")


if __name__ == "__main__":
    main()

"""The dashboard, uncached, beside millions of readings.

    python benchmarks/dashboard.py [--people 20] [--days 730] [--readings 10000000] [--json]

Each person has 3 accounts with 10 posts in each day's rollup (of days more than two months ago, the
persons' documents alone, which are all that is read). MongoDB is the embedded server. Over its own
protocol it takes some 2,000 documents a second, so the readings are copied into its SQLite file while it
is stopped, indexes and all; everything that is measured goes through the server. A request is the
dashboard's own function: PostgreSQL and MongoDB, no Redis.
"""

import argparse
import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any

from report import tell
from servers import Ground, ground, load, machine

from minitik_dagster.analytics.dashboard import dashboard
from minitik_dagster.analytics.days import RANGES, day_range
from minitik_dagster.analytics.metrics import NAMES
from minitik_dagster.analytics.names import DAILY, READINGS, USER_DAILY
from minitik_dagster.analytics.rollup import daily_rollup
from minitik_dagster.analytics.store import AnalyticsStore
from minitik_dagster.analytics.user_days import user_documents
from minitik_dagster.db.types import Platform
from minitik_dagster.local.ports import free_port
from minitik_dagster.local.servers.mongo import MongoServer

_DATABASE = "minitik_analytics"
_REQUESTS = 200
_BY_ACCOUNT_DAYS = 60
_READINGS_OF_A_POST = 50
# A document as the server keeps one: extended JSON, with the fields and metadata of a reading.
_COPY = """
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :readings)
INSERT INTO analytics (_id, data)
SELECT printf('%024x', n), printf(
    '{"_id": {"__neosqlite_objectid__": true, "id": "%024x"}, "timestamp": {"$date": "%s"}, '
    || '"slot": {"$date": "%s"}, "metadata": {"contentId": "c%d", "accountId": "a%d", '
    || '"platform": "TIKTOK", "userId": "u%d", "platformPostId": "x%d", "publicationId": "p%d"}, '
    || '"views": %d, "likes": 3, "comments": 1, "shares": 0, "reach": null, "impressions": null, '
    || '"engagementRate": 1.5}',
    n, at, at, n / :of_a_post, n / 5000, n / 15000, n / :of_a_post, n / :of_a_post, n)
FROM (SELECT n, strftime('%Y-%m-%dT%H:00:00.000000', 'now',
    printf('-%d hours', n % :of_a_post)) AS at FROM numbers)
"""


@contextlib.contextmanager
def stage() -> Iterator[tuple[Ground, MongoServer]]:
    """The other benchmarks' ground, and a MongoDB that can be stopped and started again."""
    with tempfile.TemporaryDirectory(prefix="minitik-bench-") as folder:
        mongo = MongoServer(Path(folder) / "mongo", port=free_port())
        with ground(MONGODB_URI=mongo.url) as base:
            mongo.start()
            try:
                yield base, mongo
            finally:
                mongo.stop()


def roll_up(store: AnalyticsStore, people: int, days: int, now: datetime) -> None:
    """Write the rollups of these people's days, as the asset does; old ones by person alone."""
    rollup = daily_rollup((), now)
    for n in range(days):
        day = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=n)
        rows = [_account_day(f"u{p}", a, day) for p in range(people) for a in range(3)]
        if n < _BY_ACCOUNT_DAYS:
            rollup.put(store, DAILY, f"{day:%Y-%m-%d}", rows)
        else:
            made = user_documents(rows)
            store.replace_partition(USER_DAILY, f"{day:%Y-%m-%d}", made, at=now)


def copy_readings(mongo: MongoServer, readings: int) -> None:
    """Put readings into the stopped server's file; its indexes are dropped and made again."""
    with contextlib.closing(sqlite3.connect(mongo.folder / "data" / f"{_DATABASE}.db")) as file:
        file.execute("PRAGMA synchronous = OFF")
        told = file.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? "
            "AND sql IS NOT NULL",
            (READINGS,),
        ).fetchall()
        for name, _ in told:
            file.execute(f'DROP INDEX "{name}"')
        file.execute(_COPY, {"readings": readings, "of_a_post": _READINGS_OF_A_POST})
        for _, sql in told:
            file.execute(sql)
        file.commit()


def measure(base: Ground, store: AnalyticsStore, people: int, name: str) -> dict[str, Any]:
    """Ask for one person's dashboard after the other's."""
    taken = []
    for number in range(_REQUESTS):
        now = datetime.now(UTC)
        began = time.perf_counter()
        with base.bench.engine.connect() as connection:
            found = dashboard(store, connection, f"u{number % people}", day_range(name, now), now)
        taken.append((time.perf_counter() - began) * 1000)
        assert found["totals"]["views"]["value"], found["totals"]
        assert len(found["topContents"]) == 5
    cuts = quantiles(taken, n=20)
    return {"p50_ms": round(cuts[9], 1), "p95_ms": round(cuts[18], 1), "load": load()[0]}


def dashboards(people: int, days: int, readings: int) -> dict[str, Any]:
    """Fill, then measure each range that the rollups reach over, the range before included."""
    now, began = datetime.now(UTC), time.monotonic()
    with stage() as (base, mongo):
        store = AnalyticsStore(mongo.url, _DATABASE)
        roll_up(store, people, days, now)
        store.close()
        mongo.stop()
        copy_readings(mongo, readings)
        mongo.start()
        store = AnalyticsStore(mongo.url, _DATABASE)
        figures: dict[str, Any] = {
            "readings": store.database[READINGS].estimated_document_count(),
            "rollup_documents": {
                name: store.database[name].estimated_document_count()
                for name in (DAILY, USER_DAILY)
            },
            "file_mib": round((mongo.folder / "data" / f"{_DATABASE}.db").stat().st_size / 2**20),
            "fill_seconds": round(time.monotonic() - began),
        }
        for name, length in RANGES.items():
            if 2 * length <= days:
                figures[name] = measure(base, store, people, name)
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


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--days", type=int, default=730)
    parser.add_argument("--readings", type=int, default=10_000_000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    before = machine()
    figures = dashboards(chosen.people, chosen.days, chosen.readings)
    tell(before, figures, as_json=chosen.json)


if __name__ == "__main__":
    main()

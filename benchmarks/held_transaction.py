"""Steady load without and with a transaction that somebody holds open in PostgreSQL.

    python benchmarks/held_transaction.py [--seconds 180] [--rate 6] [--json]

The holder is a foreign session (REPEATABLE READ, it has read publications and idles): while it lives no
dead row version can be removed, so every question has more of them to step over. In both halves a warm
dispatcher publishes `--rate` posts a second for `--seconds`; half-time has a VACUUM, so that the first half
leaves the second nothing. Throughput: commits within the instants of the half, a second. Printed with the
lateness of the commits' first byte, the time of the dispatcher's two questions at the end of the half,
and the ratio. Exits 1 when throughput with the holder is under 90 % of that without.
"""

import argparse
import contextlib
import json
import random
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
from feeding import LEAD, feed
from lateness import lateness_of
from servers import Ground, ground, load, machine
from sqlalchemy import text
from verdicts import QUICK, RAISED, RAISED_BUDGETS, SETTLED, Trial, counted, judge, stages

from minitik_dagster.db.types import to_db
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.publishing import queries

_WITHIN = 0.9
_SETTLE_SECONDS = 120
_COMMITTED = """
SELECT count(*) FROM publications
WHERE stage = 'live' AND "committedAt" >= :since AND "committedAt" < :until
"""
_DEAD = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'publications'"


@contextlib.contextmanager
def held_open(base: Ground) -> Iterator[None]:
    """A session of nobody's: it has read, keeps its snapshot, and does nothing."""
    with psycopg.connect(base.environment["DATABASE_URL"]) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT count(*) FROM publications")
        yield
        state = connection.info.transaction_status
        if state is not psycopg.pq.TransactionStatus.INTRANS:
            raise SystemExit(f"the held transaction did not live to the end: {state.name}")
        # It must still answer: a session that the server ended looks alive to its client.
        connection.execute("SELECT 1")


def half(base: Ground, dispatcher: ChildProcess, options: argparse.Namespace) -> dict[str, Any]:
    """Publish at a steady pace for the seconds asked for; return the figures."""
    already = len(dispatcher.log.read_text())
    before = load()
    since = base.bench.now() + LEAD
    posts = round(options.rate * options.seconds)
    trials = feed(base, random.Random(options.seed), posts, options.rate, 20_000, lambda _: None)
    until = since + timedelta(seconds=options.seconds)
    time.sleep(max(0.0, (until - base.bench.now()).total_seconds()))
    asked = _questions(base)
    _wait(base, trials)
    verdicts, wrong = counted(judge(trials, base.bench.sandbox.posts(), stages(base.bench.engine)))
    return {
        "per_second": round(_committed(base, since, until) / options.seconds, 2),
        "lateness_ms": lateness_of(dispatcher.log.read_text()[already:])["all"],
        **asked,
        "posts": posts,
        "right": verdicts["right"],
        "wrong": wrong,
        "load_before": before,
    }


def _committed(base: Ground, since: datetime, until: datetime) -> int:
    with base.bench.engine.connect() as connection:
        span = {"since": to_db(since), "until": to_db(until)}
        return int(connection.execute(text(_COMMITTED), span).scalar_one())


def _questions(base: Ground) -> dict[str, Any]:
    """What the claim costs now (it is rolled back), and how many dead row versions lie about."""
    values = {
        "owner": "held_transaction",
        "lease": timedelta(seconds=1),
        "limit": 50,
        "window_end": None,
        "since": None,
        "full": [],
    }
    found: dict[str, Any] = {}
    with base.bench.engine.connect() as connection:
        found["dead_rows"] = connection.execute(text(_DEAD)).scalar_one()
        for name, words in (("claim_ms", queries.CLAIM), ("wake_ms", queries.NEXT_WAKE)):
            times = []
            for _ in range(9):
                start = time.perf_counter()
                connection.execute(
                    text(words), values if name == "claim_ms" else {"since": None}
                ).all()
                times.append((time.perf_counter() - start) * 1000)
                connection.rollback()
            found[name] = round(sorted(times)[4], 1)
    return found


def _wait(base: Ground, trials: list[Trial]) -> None:
    deadline = time.monotonic() + _SETTLE_SECONDS
    ids = {trial.publication_id for trial in trials}
    while time.monotonic() < deadline:
        found = stages(base.bench.engine)
        if all(found.get(one) in {"live", *SETTLED} for one in ids):
            return
        time.sleep(1.0)


def main() -> int:
    """Run both halves and print them with their ratio."""
    options = _options()
    with ground(MINITIK_LIMITS=json.dumps(RAISED_BUDGETS), **QUICK) as base:
        base.bench.sandbox.set_limits(**RAISED)
        dispatcher = base.dispatcher()
        dispatcher.start()
        try:
            dispatcher.wait_until(
                lambda: "dispatcher ready" in dispatcher.log.read_text(), timeout_seconds=60
            )
            without = half(base, dispatcher, options)
            with psycopg.connect(base.environment["DATABASE_URL"], autocommit=True) as connection:
                connection.execute("VACUUM")
            with held_open(base):
                held = half(base, dispatcher, options)
        finally:
            dispatcher.stop()
    ratio = held["per_second"] / without["per_second"] if without["per_second"] else 0.0
    report = {
        "machine": machine(),
        "seconds": options.seconds,
        "rate": options.rate,
        "without": without,
        "held": held,
        "ratio": round(ratio, 3),
    }
    print(json.dumps(report) if options.json else _prose(report))
    right = all(one["right"] == one["posts"] for one in (without, held))
    return 0 if right and ratio >= _WITHIN else 1


def _prose(report: dict[str, Any]) -> str:
    lines = [
        f"machine {report['machine']}",
        f"{report['seconds']} s at {report['rate']} posts a second, each on an account of its own",
        f"raised {RAISED}, {RAISED_BUDGETS}",
    ]
    for name in ("without", "held"):
        one = report[name]
        late = one["lateness_ms"]
        lines.append(
            f"{name:>8}: {one['per_second']} posts a second; late p50 {late['p50']} ms, "
            f"p99 {late['p99']} ms, max {late['max']} ms; claim {one['claim_ms']} ms, next wake "
            f"{one['wake_ms']} ms, dead rows {one['dead_rows']}; right {one['right']} of "
            f"{one['posts']}; load before {one['load_before']}"
        )
        lines += one["wrong"]
    share = report["ratio"]
    verdict = "within 10 %" if share >= _WITHIN else "NOT within 10 %"
    return "\n".join([*lines, f"throughput held / without: {share:.3f} ({verdict})"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=180, help="of each half")
    parser.add_argument("--rate", type=float, default=6, help="posts a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())

"""How late posts go out, one by one and all at one instant: `python benchmarks/lateness.py`.

A real `minitik dispatcher` process publishes on the three platforms of the sandbox. Lateness = first
byte of the commit minus the due instant, as the dispatcher notes it; the arrival of the commit calls is
the sandbox's own call log. Nothing is asserted: it prints figures, the machine's load and what was raised.
"""

import argparse
import json
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sensor import fill
from servers import Ground, ground, machine
from sqlalchemy import text

from minitik_dagster.db.types import Platform
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.publishing.tally import percentile

COMMIT_OF = {"tiktok": "last_chunk", "instagram": "media_publish", "youtube": "update"}
# Beyond the vendors' figures where many posts in a few minutes would meet them; accounts are many.
RAISED = {
    "instagram": {"processingMs": 500},
    "youtube": {"processingMs": 500, "uploadsPerDay": 100_000, "unitsPerDay": 10_000_000},
}
# Our own budgets of the platforms' call limits, likewise: half of them is used otherwise.
RAISED_BUDGETS = {"youtube.uploads": 100_000, "youtube.units": 10_000_000}
_TITLES = {
    "instant": "all at one instant",
    "spread": "one by one",
}
_WAIT_SECONDS = 300


def main() -> None:
    """Run the modes asked for and print what was found."""
    options = _options()
    modes = ["spread", "instant"] if options.mode == "both" else [options.mode]
    results = []
    with ground(MINITIK_LIMITS=json.dumps(RAISED_BUDGETS)) as place:
        fill(place, 0, options.backlog)
        place.bench.sandbox.set_limits(**RAISED)
        # One dispatcher for all modes, as in production: it is warm after its first posts.
        dispatcher = place.dispatcher()
        dispatcher.start()
        try:
            dispatcher.wait_until(
                lambda: "dispatcher ready" in dispatcher.log.read_text(), timeout_seconds=60
            )
            results = [_run(place, dispatcher, mode, options) for mode in modes]
        finally:
            dispatcher.stop()
    report = {
        "machine": machine(),
        "raised_limits": RAISED,
        "raised_budgets": RAISED_BUDGETS,
        "results": results,
    }
    print(json.dumps(report, indent=2) if options.json else _prose(report))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=50, help="posts per platform (default 50)")
    parser.add_argument("--mode", choices=["instant", "spread", "both"], default="both")
    parser.add_argument("--size", type=int, default=300_000, help="bytes of each file")
    parser.add_argument(
        "--every", type=float, default=0.2, help="seconds between posts of mode spread"
    )
    parser.add_argument(
        "--backlog", type=int, default=0, help="jobs that are pending beside, in the coming 30 days"
    )
    parser.add_argument("--lead", type=float, help="seconds from scheduling to the first instant")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _run(
    place: Ground, dispatcher: ChildProcess, mode: str, options: argparse.Namespace
) -> dict[str, Any]:
    bench = place.bench
    already = len(dispatcher.log.read_text())
    lots = [
        (bench.add_video(options.size), [(bench.add_account(one), one) for one in Platform])
        for _ in range(options.posts)
    ]
    lead = options.lead or 20 + options.posts * 0.3
    bench.sandbox.call("DELETE", "/_sandbox/calls")
    # A whole second, as people choose.
    first = bench.now().replace(microsecond=0) + timedelta(seconds=lead)
    wishes = []
    for number, (video, accounts) in enumerate(lots):
        for place_in_lot, account in enumerate(accounts):
            offset = (number * len(accounts) + place_in_lot) * options.every
            due = first if mode == "instant" else first + timedelta(seconds=offset)
            wishes.append((video, [account], due))
    ids = bench.schedule_many(wishes)
    load = machine()["load_1_5_15_min"]
    _wait(place, ids, first)
    return {
        "mode": mode,
        "posts_per_platform": options.posts,
        "file_bytes": options.size,
        "seconds_between": options.every if mode == "spread" else 0,
        "load_before": load,
        "lateness_ms": lateness_of(dispatcher.log.read_text()[already:]),
        "arrival_ms": _arrivals(place, ids, first if mode == "instant" else None),
        **_verdict(place, ids),
    }


def _wait(place: Ground, ids: Sequence[str], first: datetime) -> None:
    """Wait until all are live; print where they stand at the instant."""
    deadline = time.monotonic() + _WAIT_SECONDS + (first - place.bench.now()).total_seconds()
    while time.monotonic() < deadline:
        if all(row.stage in {"live", "failed", "review"} for row in place.bench.rows(ids)):
            return
        # Rarely: what asks here takes the dispatcher's own cores.
        time.sleep(2.0)
    raise SystemExit("not all posts ended in time; see the stages in the result")


def lateness_of(log: str) -> dict[str, Any]:
    """Read each accepted commit's lateness from the dispatcher's log, by platform and for all."""
    found: dict[str, list[float]] = {"all": []}
    for line in log.splitlines():
        if '"publication.accepted"' not in line:
            continue
        event = json.loads(line)
        found["all"].append(event["late_ms"])
        found.setdefault(event["platform"], []).append(event["late_ms"])
    return {
        name: {
            "count": len(values),
            "p50": percentile(values, 50),
            "p99": percentile(values, 99),
            "max": max(values, default=None),
        }
        for name, values in sorted(found.items())
    }


def _arrivals(place: Ground, ids: Sequence[str], instant: datetime | None) -> dict[str, Any]:
    """When the sandbox saw the commit calls, relative to each one's due instant."""
    due_of = {
        (row.platform.value.lower(), _platform_account(place, row.account_id)): row.due_at
        for row in place.bench.rows(ids)
    }
    calls = [
        call
        for call in place.bench.sandbox.calls()
        if call["operation"] == COMMIT_OF.get(call["platform"])
    ]
    late = []
    for call in calls:
        due = due_of[call["platform"], call["account"]]
        assert due is not None
        late.append(call["at"] - round(due.timestamp() * 1000))
    found: dict[str, Any] = {
        "calls": len(calls),
        "early": sum(value < 0 for value in late),
        "p50": percentile([float(value) for value in late], 50),
        "max": max(late, default=None),
    }
    if instant is not None and calls:
        at = [call["at"] for call in calls]
        found["first_to_last"] = max(at) - min(at)
    return found


def _platform_account(place: Ground, account_id: str) -> str:
    with place.bench.engine.connect() as connection:
        found = connection.execute(
            text('SELECT "platformAccountId" FROM accounts WHERE id = :id'), {"id": account_id}
        )
        return str(found.scalar_one())


def _verdict(place: Ground, ids: Sequence[str]) -> dict[str, Any]:
    """What became of the posts: live, on time, once each."""
    rows = place.bench.rows(ids)
    early = [
        row.id
        for row in rows
        if row.committed_at is not None and row.due_at is not None and row.committed_at < row.due_at
    ]
    accounts = {_platform_account(place, row.account_id) for row in rows}
    public = [post for post in place.bench.sandbox.posts() if post["account"] in accounts]
    return {
        "live": sum(row.stage == "live" for row in rows),
        "of": len(rows),
        "public_posts": len(public),
        "early": len(early),
    }


def _prose(report: dict[str, Any]) -> str:
    host = report["machine"]
    lines = [
        f"machine: {host['cores']} cores, {host['memory_gib']} GiB, Python {host['python']}",
        f"raised in the sandbox: {json.dumps(report['raised_limits'])}",
        f"raised for ourselves (MINITIK_LIMITS): {json.dumps(report['raised_budgets'])}",
    ]
    for result in report["results"]:
        lines += _prose_of(result)
    return "\n".join(lines)


def _prose_of(result: dict[str, Any]) -> list[str]:
    arrival = result["arrival_ms"]
    lines = [
        "",
        (
            f"{_TITLES[result['mode']]}: {result['posts_per_platform']} posts per platform, "
            f"{result['file_bytes']:,} bytes each, load before {result['load_before']}"
        ),
        "  lateness of the commit's first byte, ms    count     p50     p99     max",
    ]
    for name, figures in result["lateness_ms"].items():
        numbers = "".join(f"{figures[key] or 0:8.1f}" for key in ("p50", "p99", "max"))
        lines.append(f"    {name:<38}{figures['count']:>8}{numbers}")
    lines.append(
        f"  commit calls seen by the platforms: {arrival['calls']}, {arrival['early']} early, "
        f"p50 {arrival['p50']} ms, max {arrival['max']} ms after the instant"
        + (f"; first to last {arrival['first_to_last']} ms" if "first_to_last" in arrival else "")
    )
    lines.append(
        f"  live {result['live']} of {result['of']}, public posts {result['public_posts']}, "
        f"early {result['early']}"
    )
    return lines


if __name__ == "__main__":
    main()

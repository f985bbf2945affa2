"""A backfill of YouTube's history by Dagster, as a person starts it in the UI.

    python benchmarks/backfill.py [--channels 20] [--days 365] [--json]

A whole `minitik up` runs in a temporary folder; the backfill is asked for over GraphQL, and Dagster's daemon
and code server do the rest. Printed are the time from the request to the backfill's end, the runs, the calls
that the sandbox counted, and the peak memory of the runs' processes; then the same once more.
"""

import argparse
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from analytics import fill
from publish_now import Town, town
from report import tell
from servers import load, machine
from sqlalchemy import text

from minitik_dagster.analytics.names import YOUTUBE_DAILY
from minitik_dagster.analytics.store import AnalyticsStore
from minitik_dagster.db.types import Platform

_ASSET = "youtube_daily_reports"
_LAUNCH = """
mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  ... on LaunchBackfillSuccess { backfillId } ... on Error { message } } }
"""
_STATE = """
query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status } ... on Error { message } }
  runsOrError(filter: {tags: [{key: "dagster/backfill", value: $id}]}) {
  ... on Runs { results { runId status } } } }
"""
_LOGS = """
query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
  ... on MessageEvent { message } } } } }
"""
_ENDED = {"COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"}
_WITHIN_SECONDS = 900


def graphql(base: Town, query: str, **variables: Any) -> Any:
    """Ask Dagster's webserver."""
    body = {"query": query, "variables": variables}
    answer = httpx.post(f"{base.endpoints.dagster}/graphql", json=body, timeout=60, trust_env=False)
    answer.raise_for_status()
    found = answer.json()
    assert "errors" not in found, found["errors"]
    return found["data"]


def backfill(base: Town, days: list[str]) -> dict[str, Any]:
    """Ask for these days, wait for the end."""
    base.bench.sandbox.call("DELETE", "/_sandbox/calls")
    selection = [{"path": [_ASSET]}]
    params = {"assetSelection": selection, "partitionNames": days}
    before, began = load()[0], time.monotonic()
    told = graphql(base, _LAUNCH, params=params)["launchPartitionBackfill"]
    backfill_id, processes, peak = told["backfillId"], dict[str, int](), 0
    while True:
        state = graphql(base, _STATE, id=backfill_id)
        runs = state["runsOrError"]["results"]
        for run in runs:
            if run["runId"] not in processes and (pid := _pid(base, run["runId"])):
                processes[run["runId"]] = pid
        peak = max([peak, *(_high_water(pid) for pid in processes.values())])
        status = state["partitionBackfillOrError"]["status"]
        if status in _ENDED:
            break
        assert time.monotonic() - began < _WITHIN_SECONDS, status
        time.sleep(0.25)
    calls = [call for call in base.bench.sandbox.calls() if call["operation"] == "analytics"]
    return {
        "status": status,
        "seconds": round(time.monotonic() - began, 1),
        "runs": len(runs),
        "calls": len(calls),
        "peak_mib": round(peak / 1024, 1),
        "load": before,
    }


def _pid(base: Town, run_id: str) -> int | None:
    """The run's process, as Dagster's own event tells it."""
    events = graphql(base, _LOGS, id=run_id)["logsForRun"]["events"]
    for event in events:
        if found := re.search(r"Started process for run \(pid: (\d+)\)", event.get("message", "")):
            return int(found[1])
    return None


def _high_water(pid: int) -> int:
    """The most memory the process had so far, in KiB; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def measure(channels: int, length: int) -> dict[str, Any]:
    """Backfill twice; the documents must be the same."""
    today = datetime.now(UTC).date()
    days = [f"{today - timedelta(days=n):%Y-%m-%d}" for n in range(length + 2, 2, -1)]
    figures: dict[str, Any] = {}
    with town() as base:
        with base.bench.engine.begin() as connection:
            # The demo's own channel is none of those that are counted.
            connection.execute(text("UPDATE accounts SET status = 'REVOKED'"))
        begun = datetime.now(UTC) - timedelta(days=length + 5)
        fill(base.bench, [Platform.YOUTUBE] * channels, 1, begun)
        store = AnalyticsStore(base.endpoints.mongodbUri, base.bench.settings.mongodb_db)
        kept = []
        for name in ("first", "again"):
            figures[name] = backfill(base, days)
            kept.append(list(store.database[YOUTUBE_DAILY].find()))
        store.close()
    figures["documents"], figures["identical"] = len(kept[0]), kept[0] == kept[1]
    return figures


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=20)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    before = machine()
    figures = measure(chosen.channels, chosen.days)
    tell(before, figures, as_json=chosen.json)


if __name__ == "__main__":
    main()

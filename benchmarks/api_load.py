"""The API under steady load: mixed reads and schedules beside a million contents of a thousand people.

    python benchmarks/api_load.py [--rate 200] [--seconds 60] [--contents 1000000] [--people 1000] [--json]

Requests leave at fixed instants whether or not the ones before are answered (an open loop: a slow server
is not asked less), spread over all people. A request's time runs from the instant it was to leave, so that
waiting in the client counts. One API process as `minitik up` starts it; this client is on the same machine.
Exits 1 when an answer was not the one expected.
"""

import argparse
import asyncio
import contextlib
import json
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
from servers import Ground, ground, load, machine
from sqlalchemy import text
from sqlalchemy.orm import Session
from wire_client import WireClient

from minitik_dagster.accounts.api_keys import create_key
from minitik_dagster.db.types import Platform
from minitik_dagster.local.ports import free_port
from minitik_dagster.local.probes import answers_ok

# The first person, content and accounts are copied: rows as the API itself would have written them.
_PEOPLE = """INSERT INTO users SELECT (jsonb_populate_record(u, jsonb_build_object(
    'id', 'u' || n, 'email', 'u' || n || '@example.org'))).*
    FROM users u, generate_series(0, CAST(:people AS int) - 1) AS n WHERE u.id = :user"""
_ACCOUNTS = """INSERT INTO accounts SELECT (jsonb_populate_record(a, jsonb_build_object(
    'id', 'a' || n, 'userId', 'u' || n, 'platformAccountId', 'p' || n))).*
    FROM accounts a, generate_series(0, CAST(:people AS int) - 1) AS n WHERE a.id = :account"""
_CONTENTS = """INSERT INTO contents SELECT (jsonb_populate_record(c, jsonb_build_object(
    'id', 'c' || n, 'userId', 'u' || n % CAST(:people AS int), 'title', 'Clip number ' || n,
    'thumbnailPath', 'thumbnails/c' || n || '.jpg',
    'createdAt', c."createdAt" - n * interval '1 second',
    'updatedAt', c."createdAt" - n * interval '1 second'))).*
    FROM contents c, generate_series(CAST(:first AS int), CAST(:last AS int)) AS n
    WHERE c.id = :content"""
_BATCH = 100_000
# Of a hundred requests so many; what creators and scripts do: look, look closer, schedule.
_MIX = {
    "list contents": 30,
    "read content": 20,
    "follow posts": 20,
    "list jobs": 15,
    "schedule": 15,
}


@dataclass
class Tally:
    """What was answered, and how long it took."""

    millis: dict[str, list[float]] = field(default_factory=dict)
    wrong: Counter[str] = field(default_factory=Counter)


def fill(base: Ground, people: int, contents: int) -> None:
    """Make the people, an account each, and their contents."""
    bench = base.bench
    account = bench.add_account(Platform.INSTAGRAM)
    content = bench.add_video(20_000).content_id
    given = {"people": people, "user": bench.user_id, "account": account, "content": content}
    with bench.engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(_PEOPLE), given)
        connection.execute(text(_ACCOUNTS), given)
    for first in range(0, contents, _BATCH):
        with bench.engine.begin() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            part = {"first": first, "last": min(first + _BATCH, contents) - 1}
            connection.execute(text(_CONTENTS), given | part)
    with bench.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))


def keys_of(base: Ground, people: int) -> list[str]:
    """Make a key for each person."""
    with Session(base.bench.engine) as session, session.begin():
        return [create_key(session, f"u{number}", "load") for number in range(people)]


class Load:
    """Sends the requests and notes the answers."""

    def __init__(self, client: WireClient, keys: list[str], contents: int) -> None:
        self.client = client
        self.keys = keys
        self.contents = contents
        self.tally = Tally()
        self.draw = random.Random(7)
        self.fresh = iter(self.draw.sample(range(contents), min(contents, 100_000)))

    async def run(self, rate: float, seconds: float) -> None:
        """Send `rate` requests a second for so long, and wait for the last answer."""
        kinds, weights = list(_MIX), list(_MIX.values())
        begin = time.perf_counter() + 0.5
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                at = begin + number / rate
                await asyncio.sleep(max(0.0, at - time.perf_counter()))
                kind = self.draw.choices(kinds, weights)[0]
                group.create_task(self._one(kind, at))

    async def _one(self, kind: str, at: float) -> None:
        method, path, body, expected = self._request(kind)
        number = int(path.rpartition("#")[2])
        key = f"Bearer {self.keys[number % len(self.keys)]}"
        try:
            status, answer = await self.client.request(method, path.rpartition("#")[0], body, key)
        except OSError as error:
            self.tally.wrong[f"{kind}: {type(error).__name__}"] += 1
            return
        self.tally.millis.setdefault(kind, []).append((time.perf_counter() - at) * 1000)
        if status != expected:
            self.tally.wrong[f"{kind}: {status} {answer[:200].decode()}"] += 1

    def _request(self, kind: str) -> tuple[str, str, dict[str, Any] | None, int]:
        """Method, path and (after #) whose it is, body, and the status that is right."""
        number = self.draw.randrange(self.contents)
        if kind == "list contents":
            return "GET", f"/api/content?limit=20#{number}", None, 200
        if kind == "read content":
            return "GET", f"/api/content/c{number}#{number}", None, 200
        if kind == "follow posts":
            return "GET", f"/api/publishing/c{number}#{number}", None, 200
        if kind == "list jobs":
            return "GET", f"/api/scheduling?limit=20#{number}", None, 200
        number = next(self.fresh)
        due = datetime.now(UTC) + timedelta(days=2, seconds=self.draw.randrange(2_000_000))
        body = {
            "contentId": f"c{number}",
            "accountIds": [f"a{number % len(self.keys)}"],
            "scheduledAt": due.strftime("%Y-%m-%dT%H:%M:%S"),
            "timezone": "Europe/Berlin",
            "disambiguation": "later",
            "allowDuplicate": True,
        }
        return "POST", f"/api/scheduling#{number}", body, 201


def quantiles(millis: list[float]) -> dict[str, float]:
    """Count, p50, p95, p99 and max in milliseconds."""
    found = sorted(millis)

    def at(part: float) -> float:
        return round(found[min(len(found) - 1, int(part * len(found)))], 1)

    return {
        "requests": len(found),
        "p50_ms": at(0.5),
        "p95_ms": at(0.95),
        "p99_ms": at(0.99),
        "max_ms": round(found[-1], 1),
    }


def cpu_seconds(api_pid: int) -> dict[str, float]:
    """Processor time so far, in seconds: of the API and its children, of PostgreSQL, of this client."""
    own = psutil.Process(api_pid)
    groups = {
        "api": [own, *own.children(recursive=True)],
        "postgresql": [one for one in psutil.process_iter(["name"]) if one.name() == "postgres"],
        "client": [psutil.Process()],
    }
    spent = dict.fromkeys(groups, 0.0)
    for name, processes in groups.items():
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                spent[name] += times.user + times.system
    return spent


async def measure(
    port: int, keys: list[str], options: argparse.Namespace, api_pid: int
) -> tuple[Tally, dict[str, float]]:
    """Warm up for five seconds, then measure; also milliseconds of processor time per request."""
    client = WireClient(port)
    sender = Load(client, keys, options.contents)
    await sender.run(options.rate / 2, 5)
    sender.tally = Tally()
    before = cpu_seconds(api_pid)
    await sender.run(options.rate, options.seconds)
    after = cpu_seconds(api_pid)
    client.close()
    requests = options.rate * options.seconds
    return sender.tally, {
        name: round((after[name] - before[name]) * 1000 / requests, 2) for name in before
    }


def main() -> None:
    """Fill, load, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--contents", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1, help="processes of the API")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with ground(NEXTAUTH_URL=url, NEXTAUTH_SECRET=secrets.token_hex(16)) as base:
        before = machine()
        fill(base, options.people, options.contents)
        keys = keys_of(base, options.people)
        api = base.program(
            "api", "uvicorn", "minitik_dagster.api.app:create_app", "--factory",
            *("--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--no-proxy-headers"),
            *("--workers", str(options.workers)),
        )  # fmt: skip
        api.start()
        try:
            api.wait_until(lambda: answers_ok(port, "/readyz"), timeout_seconds=60)
            assert api.pid is not None
            tally, cpu = asyncio.run(measure(port, keys, options, api.pid))
        finally:
            api.stop()
    together = [one for values in tally.millis.values() for one in values]
    found = {kind: quantiles(values) for kind, values in sorted(tally.millis.items())}
    found["all"] = quantiles(together)
    if options.json:
        print(
            json.dumps(
                {
                    "machine": before,
                    "load_after": load(),
                    **found,
                    "cpu_ms": cpu,
                    "wrong": tally.wrong,
                }
            )
        )
    else:
        print(f"machine {before}; load after {load()}")
        for kind, figures in found.items():
            print(f"  {kind:14} " + "  ".join(f"{name} {value}" for name, value in figures.items()))
        print(f"  processor time per request, ms: {cpu}")
        print(f"  wrong answers: {dict(tally.wrong) or 'none'}")
    raise SystemExit(1 if tally.wrong else 0)


if __name__ == "__main__":
    main()

"""Posts through a resident dispatcher while its PostgreSQL restarts and its Redis comes and goes.

    python benchmarks/outages.py [--posts 10000] [--rate 10] [--seed N] [--json]

PostgreSQL is restarted at random every 5 to 40 s, half of the times by SIGKILL (crash recovery) and half
by a fast shutdown; Redis is down about half of the time, 3 to 20 s at once. Posts are scheduled in lots,
a second's worth each, due 15 s later, each on an account of its own. After the last one is due the outages
go on until everything has settled. Then each post is looked for on the sandbox by its own bytes.
Exits 1 when anything was lost, doubled, or did not settle.
"""

import argparse
import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feeding import feed, through_outages
from servers import Ground, ground, load, machine
from sqlalchemy import text
from verdicts import (
    NAMES,
    QUICK,
    RAISED,
    RAISED_BUDGETS,
    SETTLED,
    Trial,
    counted,
    judge,
    stages,
)

from minitik_dagster.local.errors import LocalStackError
from minitik_dagster.local.process import ChildProcess

RESTART_SECONDS = (5.0, 40.0)
REDIS_SECONDS = (3.0, 20.0)
_SETTLE_SECONDS = 900
_REASONS = """SELECT COALESCE("errorCode", 'none') AS code, count(*) AS posts FROM publications
    WHERE stage = 'failed' GROUP BY 1"""


@dataclass
class Outages:
    """Takes PostgreSQL and Redis away, each in a thread of its own, until it is told to stop."""

    base: Ground
    seed: int
    restarts: int = 0
    crashes: int = 0
    redis_down_seconds: float = 0.0
    broken: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def raging(self) -> Iterator[None]:
        """Both servers come and go during the block and run at its end."""
        threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (self._postgres, self._redis)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _guarded(self, work: Callable[[random.Random], None]) -> None:
        """A thread that dies would end the outages unseen: the run says so and is no proof."""
        try:
            work(random.Random(f"{self.seed} {work.__name__}"))
        except Exception as error:
            self.broken.append(f"{work.__name__}: {type(error).__name__}: {error}")

    def _postgres(self, draw: random.Random) -> None:
        server = self.base.postgres
        while not self._over.wait(draw.uniform(*RESTART_SECONDS)):
            crash = draw.random() < 0.5
            (server.kill if crash else server.stop)()
            _started(server.start)
            self.restarts += 1
            self.crashes += crash

    def _redis(self, draw: random.Random) -> None:
        server = self.base.redis
        while not self._over.wait(draw.uniform(*REDIS_SECONDS)):
            server.kill()
            gone = time.monotonic()
            self._over.wait(draw.uniform(*REDIS_SECONDS))
            _started(server.start)
            self.redis_down_seconds += time.monotonic() - gone


def _started(start: Callable[[], None]) -> None:
    """Start a server; after a crash its port or its memory may be taken a moment longer."""
    deadline = time.monotonic() + 60
    while True:
        try:
            start()
        except LocalStackError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def settled(base: Ground, trials: list[Trial], say: Callable[[str], None]) -> None:
    """Wait until every post has its end, or ten minutes."""
    ids = {trial.publication_id for trial in trials}
    deadline = time.monotonic() + _SETTLE_SECONDS
    said = 0.0
    while time.monotonic() < deadline:
        found = through_outages(lambda: stages(base.bench.engine))
        open_posts = [found.get(one) for one in ids if found.get(one) not in {"live", *SETTLED}]
        if not open_posts:
            return
        if time.monotonic() - said > 15:
            said = time.monotonic()
            say(f"{len(open_posts):>6} not settled, load {load()}")
        time.sleep(1.0)


def main() -> int:
    """Run the posts through the outages and print the count."""
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**9)
    with ground(MINITIK_LIMITS=json.dumps(RAISED_BUDGETS), **QUICK) as base:
        base.bench.sandbox.set_limits(**RAISED)
        if not options.json:
            print(
                f"seed {seed}; machine {machine()}; files of {options.size:,} bytes; "
                f"raised {RAISED}, {RAISED_BUDGETS}; shortened {QUICK}",
                flush=True,
            )
        dispatcher = base.dispatcher()
        dispatcher.start()
        try:
            dispatcher.wait_until(
                lambda: "dispatcher ready" in dispatcher.log.read_text(), timeout_seconds=60
            )
            result = _run(base, dispatcher, seed, options)
        finally:
            dispatcher.stop()
            if options.keep_log:
                options.keep_log.write_bytes(dispatcher.log.read_bytes())
    if options.json:
        print(json.dumps(result))
    else:
        print(_prose(result))
    good = result["right"] + result["review"] == options.posts
    return 0 if good and not result["broken"] and result["dispatcher_lived"] else 1


def _run(
    base: Ground, dispatcher: ChildProcess, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    started = time.monotonic()
    outages = Outages(base, seed)

    def say(words: str) -> None:
        if not options.json:
            print(f"  {words}", flush=True)

    with outages.raging():
        trials = feed(base, random.Random(seed), options.posts, options.rate, options.size, say)
        settled(base, trials, say)
        seconds = time.monotonic() - started
    found = judge(
        trials, base.bench.sandbox.posts(), through_outages(lambda: stages(base.bench.engine))
    )
    verdicts, wrong = counted(found)
    return {
        "seed": seed,
        "posts": options.posts,
        **{name: verdicts[name] for name in NAMES},
        "right": verdicts["right"],
        "restarts": outages.restarts,
        "crashes": outages.crashes,
        "redis_down_share": round(outages.redis_down_seconds / seconds, 2),
        "seconds": round(seconds),
        "load": load(),
        "dispatcher_lived": dispatcher.is_running(),
        "broken": outages.broken,
        "reasons": through_outages(lambda: _reasons(base)),
        "wrong": wrong,
    }


def _reasons(base: Ground) -> dict[str, int]:
    """Why posts failed: error codes and how many."""
    with base.bench.engine.connect() as connection:
        return {row.code: row.posts for row in connection.execute(text(_REASONS))}


def _prose(result: dict[str, Any]) -> str:
    lines = [
        f"{result['posts']} posts, seed {result['seed']}: "
        + ", ".join(f"{name} {result[name]}" for name in NAMES)
        + f", right {result['right']}; PostgreSQL restarted {result['restarts']} times "
        f"({result['crashes']} crashes), Redis down {result['redis_down_share']:.0%} of the time; "
        f"{result['seconds']} s, load {result['load']}",
        *([] if result["dispatcher_lived"] else ["the dispatcher ended by itself"]),
        *result["broken"],
        *([f"failed: {result['reasons']}"] if result["reasons"] else []),
        *result["wrong"],
    ]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--posts", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=10, help="posts a second")
    parser.add_argument("--size", type=int, default=20_000, help="bytes of each file")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep-log", type=Path, help="copy the dispatcher's log there")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())

"""Kills dispatchers at random moments while the platforms lie, and counts what was lost or doubled.

    python benchmarks/chaos.py [--trials 500] [--seed N] [--wave 20] [--json]

A trial is one post on one account. Each wave schedules some posts within a few seconds, gives some of them
a lie (drop-before, drop-after, error-after, late-effect, stale-read, delay), and kills one of two
real dispatchers (`kill -9`) again and again until the wave has settled. Then each post is looked for on the
sandbox by its own bytes: public exactly once is right.
"""

import argparse
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from servers import Ground, ground, machine
from verdicts import (
    NAMES,
    QUICK,
    RAISED,
    RAISED_BUDGETS,
    SETTLED,
    Trial,
    counted,
    judge,
    platform_account,
    stages,
)

from minitik_dagster.db.types import Platform
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.resilience.breaker import reset_breaker

LEASE_SECONDS = 2
COMMIT_OF = {
    Platform.TIKTOK: "last_chunk",
    Platform.INSTAGRAM: "media_publish",
    Platform.YOUTUBE: "update",
}
PREPARE_OF = {
    Platform.TIKTOK: ("creator_info", "init", "status"),
    Platform.INSTAGRAM: ("container", "container_status"),
    Platform.YOUTUBE: ("session", "upload", "list"),
}
LIES = (
    "drop-before",
    "drop-after",
    "error-after",
    "late-effect",
    "stale-read",
    "delay",
)
_SETTLE_SECONDS = 120


class Pair:
    """Two dispatchers; the one that is killed is started again."""

    def __init__(self, base: Ground) -> None:
        self._base = base
        self._number = 0
        self.kills = 0
        self.running = [self._start(), self._start()]

    def _start(self) -> ChildProcess:
        self._number += 1
        child = self._base.dispatcher(f"dispatcher-{self._number}")
        child.start()
        return child

    def kill_one(self, draw: random.Random) -> None:
        """`kill -9` one of the two and start another."""
        place = draw.randrange(len(self.running))
        self.running[place].kill()
        self.kills += 1
        self.running[place] = self._start()

    def stop(self) -> None:
        """End both."""
        for child in self.running:
            child.stop()


def wave(base: Ground, draw: random.Random, posts: int) -> list[Trial]:
    """Schedule some posts, due within seconds, and tell the platforms' lies of them."""
    bench, trials = base.bench, []
    for _ in range(posts):
        platform = draw.choice(list(Platform))
        account_id = bench.add_account(platform)
        video = bench.add_video(11_500_000 if draw.random() < 0.1 else 100_000)
        lie = draw.choice(("none", *LIES))
        if lie != "none":
            commit = draw.random() < 0.6
            operation = COMMIT_OF[platform] if commit else draw.choice(PREPARE_OF[platform])
            fault: dict[str, Any] = {"kind": lie, "count": draw.choice((1, 1, 2))}
            if lie in {"delay", "late-effect", "stale-read"}:
                fault["delayMs"] = draw.choice((300, 1000, 2500))
            bench.sandbox.add_fault(
                platform=platform.value.lower(),
                operation=operation,
                account=platform_account(bench.engine, account_id),
                **fault,
            )
        due_at = bench.now() + timedelta(seconds=draw.uniform(0.5, 8))
        (publication_id,) = bench.schedule(video, [(account_id, platform)], due_at)
        trials.append(Trial(publication_id, platform, video, lie))
    return trials


def settle(base: Ground, pair: Pair, draw: random.Random, trials: list[Trial]) -> None:
    """Kill at random moments for some seconds, then let the dispatchers finish in peace."""
    ids = [trial.publication_id for trial in trials]
    started = time.monotonic()
    next_kill = started + draw.uniform(0.3, 2.0)
    while time.monotonic() - started < _SETTLE_SECONDS:
        now = time.monotonic()
        if now - started < 14 and now >= next_kill:
            pair.kill_one(draw)
            next_kill = now + draw.uniform(0.8, 3.0)
        # So many lies open the breakers, and parked posts would wait five minutes: an operator resets them.
        for platform in Platform:
            reset_breaker(base.environment["REDIS_URL"], platform)
        rows = base.bench.rows(ids)
        if all(row.stage in {"live", *SETTLED} for row in rows):
            return
        time.sleep(0.2)


@contextlib.contextmanager
def battlefield() -> Iterator[tuple[Ground, Pair]]:
    """The servers and two dispatchers with short leases and settle times."""
    with ground(
        MINITIK_LEASE_SECONDS=str(LEASE_SECONDS),
        MINITIK_LIMITS=json.dumps(RAISED_BUDGETS),
        **QUICK,
    ) as base:
        base.bench.sandbox.set_limits(**RAISED)
        pair = Pair(base)
        try:
            yield base, pair
        finally:
            pair.stop()


def main() -> int:
    """Run the trials and print the count; exit 1 when anything was lost or doubled."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--wave", type=int, default=20, help="posts at a time")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**9)
    draw = random.Random(seed)
    verdicts: Counter[str] = Counter()
    wrong: list[str] = []
    with battlefield() as (base, pair):
        if not options.json:
            print(f"seed {seed}; machine {machine()}; lease {LEASE_SECONDS} s; raised {RAISED}")
        done = 0
        while done < options.trials:
            trials = wave(base, draw, min(options.wave, options.trials - done))
            settle(base, pair, draw, trials)
            found = judge(trials, base.bench.sandbox.posts(), stages(base.bench.engine))
            more, lines = counted(found)
            verdicts += more
            wrong += lines
            done += len(trials)
            base.bench.sandbox.call("DELETE", "/_sandbox/faults")
            base.bench.sandbox.call("DELETE", "/_sandbox/calls")
            if not options.json:
                print(f"  {done:>5} trials, {pair.kills} kills: {dict(verdicts)}", flush=True)
        kills = pair.kills
    result = {
        "seed": seed,
        "trials": options.trials,
        "kills": kills,
        **{name: verdicts[name] for name in NAMES},
        "right": verdicts["right"],
        "wrong": wrong,
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(", ".join(f"{name} {result[name]}" for name in NAMES))
        print("\n".join(wrong))
    return 0 if verdicts["right"] + verdicts["review"] == options.trials else 1


if __name__ == "__main__":
    raise SystemExit(main())

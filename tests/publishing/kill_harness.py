"""Kills real dispatcher processes at exact points, and says afterwards whether each post is right.

The points are found from outside, as an operator could: rows of the database, and what the platforms
have seen. Faults of the sandbox hold a call long enough to be caught in it; production code has no hook.
"""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from sqlalchemy import text

from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import Platform, PublicationStatus
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.local.workbench import Video, Workbench

COMMIT_OF = {
    Platform.TIKTOK: "last_chunk",
    Platform.INSTAGRAM: "media_publish",
    Platform.YOUTUBE: "update",
}
STATUS_OF = {
    Platform.TIKTOK: "status",
    Platform.INSTAGRAM: "container_status",
    Platform.YOUTUBE: "list",
}
SMALL, LARGE = 300_000, 11_500_000
# Short processing, so that a trial is about the engine and not about waiting.
QUICK_PLATFORMS = {
    "tiktok": {"processingMs": 300, "moderationMs": 300},
    "instagram": {"processingMs": 300},
    "youtube": {"processingMs": 300},
}
_POLL_SECONDS = 0.01
_STEPS = """
SELECT name, attempt, "canPublish" AS can_publish, "endedAt" AS ended_at, outcome
FROM publication_steps WHERE "publicationId" = :id ORDER BY "startedAt", id
"""
_LOOK = """
SELECT p.stage, extract(epoch FROM p."dueAt" - (clock_timestamp() AT TIME ZONE 'UTC')) AS due_in,
    (SELECT count(*) FROM publication_steps s WHERE s."publicationId" = p.id
        AND s."canPublish" AND s."endedAt" IS NULL) AS open_commits
FROM publications p WHERE p.id = :id
"""


class Dispatcher:
    """A dispatcher process of its own: `minitik dispatcher`, as an operator starts it."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._child = ChildProcess(
            "dispatcher",
            [str(Path(sys.executable).with_name("minitik")), "dispatcher"],
            log=log,
            env={**_inherited(), **environment},
            cwd=log.parent,
            grace_seconds=30.0,
        )

    def __enter__(self) -> Self:
        """Start it and wait until it claims."""
        self._child.start()
        self._child.wait_until(lambda: "dispatcher ready" in self.words(), timeout_seconds=30)
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()

    def words(self) -> str:
        """Everything it has said so far."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """`kill -9`: it gets to do nothing more."""
        self._child.kill()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP for a machine that stalls, SIGCONT when it goes on."""
        assert self._child.pid is not None
        os.kill(self._child.pid, number)


@dataclass(frozen=True)
class Sight:
    """What can be seen from outside at one moment of a trial."""

    stage: str
    due_in: float
    open_commits: int
    calls: Mapping[str, int]
    """Requests the platform has seen of this account, by operation; answered or not."""
    answered: Mapping[str, int]
    public: int


Seen = Callable[[Sight], bool]


@dataclass(frozen=True)
class KillPoint:
    """Where a dispatcher is killed: `faults` stand from the start, `then` come at `turn`.

    `new_handle`: the answer that was lost held the handle, so another one is made (engine.md R1).
    """

    name: str
    platform: Platform
    reached: Seen
    faults: Sequence[Mapping[str, Any]] = ()
    turn: Seen | None = None
    then: Sequence[Mapping[str, Any]] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    new_handle: bool = False
    due_in: timedelta = timedelta(seconds=5)

    def __str__(self) -> str:
        return f"{self.platform.value.lower()}: {self.name}"


@dataclass
class Trial:
    """One post on one account, on its way through dispatchers that are killed."""

    bench: Workbench
    platform: Platform
    size: int
    due_in: timedelta

    def __post_init__(self) -> None:
        self.bench.sandbox.set_limits(**QUICK_PLATFORMS)
        self.account_id = self.bench.add_account(self.platform)
        with self.bench.engine.connect() as connection:
            self.platform_account = connection.execute(
                text('SELECT "platformAccountId" FROM accounts WHERE id = :id'),
                {"id": self.account_id},
            ).scalar_one()
        self.video: Video = self.bench.add_video(self.size)
        self.publication_id = ""

    def add_faults(self, faults: Sequence[Mapping[str, Any]]) -> None:
        """Let this account's calls go wrong."""
        for fault in faults:
            self.bench.sandbox.add_fault(
                platform=self.platform.value.lower(), account=self.platform_account, **fault
            )

    def schedule(self) -> None:
        """Schedule the post, to be taken at once."""
        due_at = self.bench.now() + self.due_in
        (self.publication_id,) = self.bench.schedule(
            self.video, [(self.account_id, self.platform)], due_at
        )

    def look(self) -> Sight:
        """See row, ledger, calls and posts as they stand."""
        with self.bench.engine.connect() as connection:
            row = connection.execute(text(_LOOK), {"id": self.publication_id}).one()
        calls = self.calls()
        return Sight(
            stage=row.stage,
            due_in=float(row.due_in),
            open_commits=row.open_commits,
            calls=Counter(str(call["operation"]) for call in calls),
            answered=Counter(
                str(call["operation"]) for call in calls if call["status"] is not None
            ),
            public=len(self.bench.public_posts(self.video)),
        )

    def calls(self) -> list[dict[str, Any]]:
        """The account's requests, oldest first."""
        return [
            call
            for call in self.bench.sandbox.calls()
            if call["platform"] == self.platform.value.lower()
            and call["account"] == self.platform_account
        ]

    def wait_for(self, seen: Seen, what: str, *, seconds: float = 30) -> Sight:
        """Look until `seen`; AssertionError with the last sight after `seconds`."""
        deadline = time.monotonic() + seconds
        while not seen(sight := self.look()):
            assert time.monotonic() < deadline, f"{what} was not seen; last: {sight}"
            time.sleep(_POLL_SECONDS)
        return sight

    def wait_until_settled(self, *, seconds: float = 45) -> Publication:
        """Wait until no dispatcher has anything to do with the post for now."""
        deadline = time.monotonic() + seconds
        while True:
            (row,) = self.bench.rows([self.publication_id])
            if is_settled(row):
                return row
            assert time.monotonic() < deadline, (
                f"not settled: {row.stage}, {row.error}; ledger: {self.steps()}"
            )
            time.sleep(_POLL_SECONDS)

    def steps(self) -> list[dict[str, Any]]:
        """The ledger, oldest step first."""
        with self.bench.engine.connect() as connection:
            found = connection.execute(text(_STEPS), {"id": self.publication_id})
            return [dict(row) for row in found.mappings()]

    def handles(self) -> list[str]:
        """The states of every handle, oldest first."""
        sql = 'SELECT state FROM handles WHERE "publicationId" = :id ORDER BY "createdAt"'
        with self.bench.engine.connect() as connection:
            return list(connection.execute(text(sql), {"id": self.publication_id}).scalars())

    def assert_public_exactly_once(self) -> Publication:
        """The sandbox shows one post of the account; row and ledger say the same, and nothing more."""
        row = self.wait_until_settled()
        steps = self.steps()
        story = f"row {row.stage}: {row.error}; ledger: {steps}; calls: {self.calls()}"
        assert row.stage == "live", story
        assert row.status is PublicationStatus.PUBLISHED, story
        posts = [
            post for post in self.bench.sandbox.posts() if post["account"] == self.platform_account
        ]
        assert [post["sha256"] for post in posts] == [self.video.sha256], story
        post = posts[0]
        assert row.platform_post_id == post["id"], story
        assert self._bound_ids() == [post["id"]]
        succeeded = [step for step in steps if step["can_publish"] and step["outcome"] == "ok"]
        assert len(succeeded) == 1, story
        assert all(step["ended_at"] is not None for step in steps), story
        assert self.handles().count("used") == 1, story
        assert "active" not in self.handles(), story
        self._assert_never_early(row, post)
        return row

    def _assert_never_early(self, row: Publication, post: Mapping[str, Any]) -> None:
        assert row.due_at is not None
        assert row.committed_at is not None
        assert row.committed_at >= row.due_at
        assert post["publishedAt"] >= epoch_ms(row.due_at)

    def _bound_ids(self) -> list[str]:
        sql = 'SELECT "platformPostId" FROM posts WHERE "publicationId" = :id'
        with self.bench.engine.connect() as connection:
            return list(connection.execute(text(sql), {"id": self.publication_id}).scalars())


@dataclass(frozen=True)
class Ground:
    """What dispatchers are killed on: a workbench, their environment, and a folder for their logs."""

    bench: Workbench
    environment: Mapping[str, str]
    folder: Path

    def dispatcher(self, name: str, **environment: str) -> Dispatcher:
        """A dispatcher of that name, not started."""
        return Dispatcher({**self.environment, **environment}, self.folder / f"{name}.log")

    def trial(self, platform: Platform, due_in: timedelta, size: int = LARGE) -> Trial:
        """A post that is to be scheduled."""
        return Trial(self.bench, platform, size, due_in)

    def kill_at(self, point: KillPoint, size: int) -> None:
        """Kill a dispatcher at the point, let another one finish, and check that all is as it should be."""
        trial = self.trial(point.platform, point.due_in, size)
        trial.add_faults(point.faults)
        with self.dispatcher("first", **point.environment) as first:
            trial.schedule()
            if point.turn is not None:
                trial.wait_for(point.turn, f"the turn before {point.name}")
                trial.add_faults(point.then)
            sight = trial.wait_for(point.reached, str(point))
            first.kill()
        self.bench.sandbox.call("DELETE", "/_sandbox/faults")
        assert sight.stage != "live"
        with self.dispatcher("second", **point.environment) as second:
            trial.assert_public_exactly_once()
            made = len(trial.handles())
            assert made == 1 or (point.new_handle and made == 2), trial.handles()
        for words in (first.words(), second.words()):
            assert "publication.defect" not in words
            assert "Traceback" not in words


def is_settled(row: Publication) -> bool:
    """Nobody works on it: refused, in review, or live with its public id (later it is looked at again)."""
    if row.lease_owner is not None:
        return False
    return row.stage in {"failed", "review"} or (
        row.stage == "live" and row.platform_post_id is not None
    )


def epoch_ms(instant: datetime) -> int:
    """Epoch milliseconds, as the sandbox tells instants."""
    return round(instant.timestamp() * 1000)


def _inherited() -> dict[str, str]:
    """What a program needs of ours; none of this test run's settings."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}

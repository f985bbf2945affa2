"""Schedules posts at a steady pace, each a file and an account of its own, also while PostgreSQL restarts."""

import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from servers import Ground, load
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from verdicts import Trial

from minitik_dagster.db.types import Platform
from minitik_dagster.local.workbench import Video

T = TypeVar("T")
LEAD = timedelta(seconds=15)
_OF_CONTENT = 'SELECT id FROM publications WHERE "contentId" = :content'


def through_outages(work: Callable[[], T]) -> T:
    """Repeat what needs the database until it answers."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return work()
        except DBAPIError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def lot(base: Ground, draw: random.Random, posts: int, size: int) -> list[Trial]:
    """Schedule some posts, each a file and an account of its own, all due within the same second."""
    bench = base.bench
    wishes: list[tuple[Video, str, Platform]] = []
    for _ in range(posts):
        platform = draw.choice(list(Platform))
        video = through_outages(lambda: bench.add_video(size))
        account_id = through_outages(lambda: bench.add_account(platform))  # noqa: B023 - called at once
        wishes.append((video, account_id, platform))
    due_at = through_outages(bench.now) + LEAD

    def schedule() -> None:
        # A COMMIT whose answer was lost may have been done: the posts are there or none of them is.
        if not _publication_of(base, wishes[0][0]):
            bench.schedule_many(
                (video, [(account_id, platform)], due_at + timedelta(seconds=draw.random()))
                for video, account_id, platform in wishes
            )

    through_outages(schedule)
    return [
        Trial(through_outages(lambda: _publication_of(base, video)), platform, video)  # noqa: B023
        for video, _, platform in wishes
    ]


def _publication_of(base: Ground, video: Video) -> str:
    with base.bench.engine.connect() as connection:
        found = connection.execute(text(_OF_CONTENT), {"content": video.content_id}).scalar()
        return str(found or "")


def feed(
    base: Ground,
    draw: random.Random,
    posts: int,
    rate: float,
    size: int,
    say: Callable[[str], None],
) -> list[Trial]:
    """Schedule a second's worth after another at `rate` posts a second (slower, when the servers cannot)."""
    trials: list[Trial] = []
    started = time.monotonic()
    said = 0.0
    while len(trials) < posts:
        trials += lot(base, draw, min(max(1, round(rate)), posts - len(trials)), size)
        time.sleep(max(0.0, len(trials) / rate - (time.monotonic() - started)))
        if time.monotonic() - said > 30:
            said = time.monotonic()
            say(f"{len(trials):>6} scheduled, load {load()}")
            # The sandbox's list of calls grows with every request and is not needed here.
            base.bench.sandbox.call("DELETE", "/_sandbox/calls")
    return trials

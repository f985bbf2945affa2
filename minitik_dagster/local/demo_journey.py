"""One real video's way from a file to three public posts, by the HTTP API alone."""

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx

from minitik_dagster.local.demo_client import DemoClient
from minitik_dagster.local.demo_display import Display
from minitik_dagster.local.demo_verdict import TERMINAL_STAGES, Row, problems_of, rows_of
from minitik_dagster.local.demo_video import make_video
from minitik_dagster.local.endpoints import Endpoints
from minitik_dagster.local.errors import LocalStackError

ZONE = "Asia/Kathmandu"
AHEAD = timedelta(seconds=45)
# After the instant: the platforms' own processing and the ladder of status questions.
PATIENCE = timedelta(seconds=90)
# TikTok names a public post's id some time after it is public, or never.
ID_PATIENCE = timedelta(seconds=20)
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class JourneyResult:
    """What came of it; `problems` is empty when all went out exactly once and on time."""

    content_id: str
    sha256: str
    due: datetime
    rows: list[Row]
    problems: list[str]


def travel(endpoints: Endpoints, display: Display, check: Callable[[], None]) -> JourneyResult:
    """Make, upload, schedule and follow a video; `check` raises when the stack fails meanwhile.

    Raises LocalStackError in one line when a step is refused.
    """
    if endpoints.apiKey is None or endpoints.sandbox is None:
        raise LocalStackError(
            "the running stack has no demo user or publishes to the real platforms; the demo only "
            "runs against the sandbox: start it with `minitik up --demo`"
        )
    with (
        tempfile.TemporaryDirectory(prefix="minitik-demo-") as folder,
        DemoClient(endpoints.api, endpoints.apiKey) as client,
    ):
        display.say("making a new video (5 s, 720x1280, H.264) …")
        began = datetime.now(UTC)
        video = Path(folder) / f"demo-{began:%Y%m%d-%H%M%S}.mp4"
        make_video(video)
        sha256 = hashlib.sha256(video.read_bytes()).hexdigest()
        display.say(f"  {video.stat().st_size:,} bytes, SHA-256 {sha256[:16]}…")
        content_id = _upload(client, video, f"Demo of {began:%Y-%m-%d %H:%M:%S} UTC", display)
    with DemoClient(endpoints.api, endpoints.apiKey) as client:
        due = _schedule(client, content_id, display)
        publications = _follow(client, content_id, due, display, check)
    problems = problems_of(
        publications,
        _public_posts(endpoints.sandbox),
        sha256=sha256,
        platforms=[str(item["platform"]).lower() for item in publications],
    )
    return JourneyResult(content_id, sha256, due, rows_of(publications), problems)


def _upload(client: DemoClient, video: Path, title: str, display: Display) -> str:
    plan = client.begin_upload(video, title)
    count = len(plan.urls)
    with video.open("rb") as file:
        for number in range(1, count + 1):
            display.say(f"uploading part {number} of {count} …")
            client.send_part(plan, number, file.read(plan.chunk_size))
    display.say("checking the file against each platform's limits …")
    client.complete(plan)
    return plan.content_id


def _schedule(client: DemoClient, content_id: str, display: Display) -> datetime:
    accounts = client.accounts()
    due = (datetime.now(UTC) + AHEAD).replace(microsecond=0) + timedelta(seconds=1)
    wall = due.astimezone(ZoneInfo(ZONE)).strftime("%Y-%m-%dT%H:%M:%S")
    answer = client.schedule(content_id, list(accounts.values()), wall, ZONE)
    agreed = datetime.fromisoformat(answer["scheduledAt"])
    if agreed != due:
        raise LocalStackError(f"{wall} in {ZONE} was understood as {agreed.isoformat()}")
    display.say(f"scheduled on {', '.join(accounts)} at {wall} {ZONE} ({due:%H:%M:%S} UTC)")
    return due


def _follow(
    client: DemoClient,
    content_id: str,
    due: datetime,
    display: Display,
    check: Callable[[], None],
) -> list[dict[str, Any]]:
    """Watch until every publication has come to an end, or patience has."""
    display.say("waiting for the Dagster sensor's run and the instant …")
    ended_at: datetime | None = None
    try:
        while True:
            check()
            publications = client.publications(content_id)
            display.follow(publications, due)
            now = datetime.now(UTC)
            ended = all(item["stage"] in TERMINAL_STAGES for item in publications)
            if ended and ended_at is None:
                ended_at = now
            named = all(item["platformPostId"] for item in publications)
            if ended_at is not None and (named or now > ended_at + ID_PATIENCE):
                return publications
            if now > due + PATIENCE:
                return publications
            time.sleep(_POLL_SECONDS)
    finally:
        display.end_following()


def _public_posts(sandbox: str) -> list[dict[str, Any]]:
    try:
        answer = httpx.get(f"{sandbox}/_sandbox/posts", timeout=30, trust_env=False)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise LocalStackError(f"sandbox: its posts cannot be read: {error}") from None
    return list(answer.json()["posts"])

"""Waiting as a platform asks: how long, at what cost, until when, and what the API tells of it."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.api.schemas.publishing import ProgressAnswer
from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import Platform
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.platforms.instagram_outcomes import POLICY_VERSION as INSTAGRAM_VERSION
from minitik_dagster.platforms.tiktok_outcomes import POLICY_VERSION as TIKTOK_VERSION
from minitik_dagster.platforms.youtube_outcomes import POLICY_VERSION as YOUTUBE_VERSION
from minitik_dagster.scheduling.progress import content_progress
from tests.publishing.running import Done, all_at, run_until

pytestmark = pytest.mark.slow

_FIRST_CALL = {
    Platform.TIKTOK: "creator_info",
    Platform.INSTAGRAM: "publishing_limit",
    Platform.YOUTUBE: "session",
}


def told(bench: Workbench, content_id: str) -> dict[str, Any]:
    """The post as its owner reads it over HTTP."""
    with Session(bench.engine) as session:
        answer = ProgressAnswer.of(content_progress(session, bench.user_id, content_id))
    (post,) = answer.model_dump(mode="json", by_alias=True)["publications"]
    return dict(post)


def waits(rows: list[Publication]) -> bool:
    """Handed back with an error, to be tried again."""
    return any(row.error_code and row.next_attempt_at and not row.lease_owner for row in rows)


def tried(attempts: int) -> Done:
    return lambda rows: all((row.attempts or 0) >= attempts for row in rows)


@pytest.mark.parametrize("platform", list(Platform))
def test_throttling_waits_as_long_as_the_platform_asks_and_costs_no_attempt(
    workbench: Workbench, platform: Platform
) -> None:
    """Retry-After of the answer; the next attempt is told."""
    account = workbench.add_account(platform)
    video = workbench.add_video()
    workbench.sandbox.add_fault(
        platform=platform.value.lower(),
        operation=_FIRST_CALL[platform],
        kind="throttle",
        count=1,
        retryAfterSeconds=1800,
    )
    before = workbench.now()
    ids = workbench.schedule(video, [(account, platform)], before + timedelta(seconds=3))
    run_until(workbench, ids, waits)
    post = told(workbench, video.content_id)
    assert (post["stage"], post["attempts"]) == ("scheduled", 0)
    at = datetime.fromisoformat(post["nextAttemptAt"])
    assert timedelta(seconds=1800) <= at - before < timedelta(seconds=1860)
    assert post["error"]["reason"]
    assert "asked again at" in post["error"]["fix"]
    assert "maxLateness" in post["error"]["fix"]


def test_youtubes_quota_waits_until_midnight_in_california(workbench: Workbench) -> None:
    """A reset time that is known beats any backoff; too late by then is said at once."""
    account = workbench.add_account(Platform.YOUTUBE)
    video = workbench.add_video()
    workbench.sandbox.add_fault(
        platform="youtube", operation="session", kind="throttle", count=1, code="quotaExceeded"
    )
    ids = workbench.schedule(
        video,
        [(account, Platform.YOUTUBE)],
        workbench.now() + timedelta(seconds=3),
        max_lateness=25 * 3600,
    )
    run_until(workbench, ids, waits)
    post = told(workbench, video.content_id)
    at = datetime.fromisoformat(post["nextAttemptAt"])
    assert (at.minute, at.second, at.hour in {7, 8}) == (0, 0, True)
    assert post["attempts"] == 0
    assert post["error"]["code"] == "quotaExceeded"


def test_a_passing_fault_costs_an_attempt_and_is_repeated_from_two_seconds_on(
    workbench: Workbench,
) -> None:
    """2 s, with jitter of a half; each attempt is a line of the ledger with the table's version."""
    account = workbench.add_account(Platform.YOUTUBE)
    video = workbench.add_video()
    workbench.sandbox.add_fault(
        platform="youtube", operation="session", kind="status", status=503, count=2
    )
    before = workbench.now()
    ids = workbench.schedule(video, [(account, Platform.YOUTUBE)], before)
    run_until(workbench, ids, tried(1))
    post = told(workbench, video.content_id)
    assert post["attempts"] == 1
    (step,) = post["steps"]
    assert (step["name"], step["outcome"]) == ("session", "transient")
    wait = datetime.fromisoformat(post["nextAttemptAt"]) - datetime.fromisoformat(step["endedAt"])
    assert timedelta(seconds=0.9) < wait < timedelta(seconds=6)
    run_until(workbench, ids, all_at("live"))
    assert len(workbench.public_posts(video)) == 1
    names = [step["name"] for step in told(workbench, video.content_id)["steps"]]
    assert names.count("session") == 3


def test_the_version_of_the_outcome_table_is_stored_with_each_attempt(
    workbench: Workbench,
) -> None:
    """Which rules judged an answer is known years later."""
    accounts = [(workbench.add_account(platform), platform) for platform in Platform]
    ids = workbench.schedule(
        workbench.add_video(), accounts, workbench.now() + timedelta(seconds=3)
    )
    run_until(workbench, ids, all_at("live"))
    with workbench.engine.connect() as connection:
        found = connection.execute(
            text(
                'SELECT DISTINCT platform::text, "policyVersion" FROM publication_steps ORDER BY 1'
            )
        ).all()
    assert [tuple(row) for row in found] == [
        ("INSTAGRAM", INSTAGRAM_VERSION),
        ("TIKTOK", TIKTOK_VERSION),
        ("YOUTUBE", YOUTUBE_VERSION),
    ]


def _full_day(bench: Workbench, max_lateness: int) -> tuple[str, list[str]]:
    """An Instagram post whose account's day fills up between its preparation and its instant."""
    account = bench.add_account(Platform.INSTAGRAM)
    video = bench.add_video()
    bench.sandbox.add_fault(
        platform="instagram",
        operation="media_publish",
        kind="status",
        status=400,
        code="9/2207042",
        count=1,
    )
    ids = bench.schedule(
        video,
        [(account, Platform.INSTAGRAM)],
        bench.now() + timedelta(seconds=6),
        max_lateness=max_lateness,
    )
    return video.content_id, ids


def test_instagrams_full_day_is_asked_about_every_ten_minutes(workbench: Workbench) -> None:
    """engine.md, 9/2207042: the limit is read anew; media_publish is sent when there is room."""
    content_id, ids = _full_day(workbench, 6 * 3600)
    run_until(workbench, ids, waits)
    post = told(workbench, content_id)
    assert post["error"]["code"] == "9/2207042"
    assert "daily number of posts" in post["error"]["reason"]
    (row,) = workbench.rows(ids)
    assert row.due_at is not None
    latest = row.due_at + timedelta(hours=6)
    assert f"fails at {latest:%Y-%m-%d %H:%M} UTC (maxLateness)" in post["error"]["fix"]
    wait = datetime.fromisoformat(post["nextAttemptAt"]) - workbench.now()
    assert timedelta(minutes=9) < wait <= timedelta(minutes=10)
    workbench.sandbox.set_limits(instagram={"postsPerDay": 0})
    _ten_minutes_pass(workbench, ids)
    run_until(workbench, ids, waits)
    assert "0 of 0 posts in 24 hours" in told(workbench, content_id)["error"]["reason"]
    assert _calls(workbench, "media_publish") == 1
    workbench.sandbox.set_limits(instagram={"postsPerDay": 1})
    _ten_minutes_pass(workbench, ids)
    run_until(workbench, ids, all_at("live"))
    assert _calls(workbench, "media_publish") == 2
    assert _calls(workbench, "container") == 1


def test_a_full_day_that_outlasts_max_lateness_is_told_at_once(workbench: Workbench) -> None:
    """Nobody waits for what can only be too late."""
    content_id, ids = _full_day(workbench, 300)
    run_until(workbench, ids, all_at("failed"))
    post = told(workbench, content_id)
    assert post["error"]["code"] == "9/2207042"
    assert post["error"]["fix"]


def _ten_minutes_pass(bench: Workbench, ids: list[str]) -> None:
    with bench.engine.begin() as connection:
        connection.execute(
            text(
                'UPDATE publications SET "nextAttemptAt" = (statement_timestamp() AT TIME ZONE '
                "'UTC'), \"errorCode\" = NULL WHERE id = ANY(:ids)"
            ),
            {"ids": ids},
        )


def _calls(bench: Workbench, operation: str) -> int:
    return sum(call["operation"] == operation for call in bench.sandbox.calls())


def begun(bench: Workbench, publication_id: str, times: int, ago: timedelta) -> None:
    """Sessions of this post whose answers were lost, the last one so long ago."""
    with bench.engine.begin() as connection:
        connection.execute(
            text(
                """INSERT INTO publication_steps (id, "publicationId", "accountId", platform, name,
                    attempt, "canPublish", "leaseToken", revision, "startedAt", "policyVersion")
                SELECT 'lost' || n, p.id, p."accountId", p.platform, 'session', n, false, 0, 0,
                    (statement_timestamp() AT TIME ZONE 'UTC') - CAST(:ago AS interval), '1'
                FROM publications p, generate_series(1, :times) AS n WHERE p.id = :id"""
            ),
            {"id": publication_id, "times": times, "ago": ago},
        )


@pytest.mark.parametrize(("times", "pause"), [(3, 1), (4, 2), (8, 60)])
def test_handles_that_are_lost_again_and_again_are_made_after_longer_waits(
    workbench: Workbench, times: int, pause: int
) -> None:
    """An outage ends: the post waits from the last one on, costs no attempt, and then goes out."""
    account = workbench.add_account(Platform.YOUTUBE)
    video = workbench.add_video()
    ids = workbench.schedule(video, [(account, Platform.YOUTUBE)], workbench.now())
    ago = timedelta(seconds=20)
    begun(workbench, ids[0], times, ago)
    before = workbench.now()
    run_until(workbench, ids, waits)
    post = told(workbench, video.content_id)
    assert (post["error"]["code"], post["attempts"]) == ("handle_pause", 0)
    at = datetime.fromisoformat(post["nextAttemptAt"])
    wait = timedelta(minutes=pause) - ago
    assert wait - timedelta(seconds=5) < at - before < wait + timedelta(seconds=30)
    assert not workbench.public_posts(video)
    with workbench.engine.begin() as connection:
        connection.execute(
            text('UPDATE publication_steps SET "startedAt" = "startedAt" - interval \'1 hour\'')
        )
        connection.execute(text('UPDATE publications SET "nextAttemptAt" = "dueAt"'))
    run_until(workbench, ids, all_at("live"))
    assert len(workbench.public_posts(video)) == 1


def test_handles_that_never_come_end_the_post(workbench: Workbench) -> None:
    """A fault of ours may not eat the app's daily quota: nine sessions in a day, and no more."""
    account = workbench.add_account(Platform.YOUTUBE)
    video = workbench.add_video()
    ids = workbench.schedule(video, [(account, Platform.YOUTUBE)], workbench.now())
    begun(workbench, ids[0], 9, timedelta(hours=2))
    run_until(workbench, ids, all_at("failed"))
    post = told(workbench, video.content_id)
    assert post["error"]["code"] == "too_many_handles"
    assert "begun 9 times" in post["error"]["reason"]
    assert len(post["steps"]) == 9

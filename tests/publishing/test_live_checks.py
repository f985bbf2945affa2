"""Accepted is not live, and live is not for ever: ladders, late ids, removals."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, cast

import pytest
from sqlalchemy import text

from minitik_dagster.db.models import Publication
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import Platform
from minitik_dagster.local.workbench import Video, Workbench
from minitik_dagster.publishing.endings import Endings
from minitik_dagster.publishing.live_checks import LiveChecks
from minitik_dagster.publishing.policy import EnginePolicy
from minitik_dagster.settings import Settings
from tests.publishing.running import all_at, run_until

pytestmark = pytest.mark.slow

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def engine_environment(engine_environment: dict[str, str]) -> dict[str, str]:
    """Live checks after one and three seconds."""
    return engine_environment | {"MINITIK_LIVE_CHECKS": "1,3"}


def _scheduled(bench: Workbench, *platforms: Platform, **options: Any) -> tuple[Video, list[str]]:
    accounts = [(bench.add_account(platform), platform) for platform in platforms]
    video = bench.add_video()
    due_at = bench.now() + timedelta(seconds=3)
    return video, bench.schedule(video, accounts, due_at, options=options or None)


def _audited(bench: Workbench, publication_id: str) -> list[str]:
    sql = "SELECT action FROM audit_log WHERE subject = :id"
    with bench.engine.connect() as connection:
        return list(connection.execute(text(sql), {"id": publication_id}).scalars())


def _notices(bench: Workbench, publication_id: str) -> list[dict[str, Any]]:
    sql = (
        "SELECT payload FROM outbox WHERE kind = 'publication.removed' "
        "AND payload ->> 'publicationId' = :id"
    )
    with bench.engine.connect() as connection:
        return list(connection.execute(text(sql), {"id": publication_id}).scalars())


def _wake_now(bench: Workbench, publication_id: str) -> None:
    with bench.engine.begin() as connection:
        connection.execute(
            text(
                'UPDATE publications SET "nextAttemptAt" = '
                "statement_timestamp() AT TIME ZONE 'UTC' WHERE id = :id"
            ),
            {"id": publication_id},
        )


def _checked(rows: list[Publication]) -> bool:
    return all(row.stage == "live" and row.next_attempt_at is None for row in rows)


def test_a_live_post_is_looked_at_at_each_age_and_then_let_be(workbench: Workbench) -> None:
    """Every platform is asked twice here; a post that is still there stays live."""
    _, ids = _scheduled(workbench, *Platform)
    run_until(
        workbench, ids, lambda rows: all(row.stage == "live" for row in rows) and _checked(rows)
    )
    rows = workbench.rows(ids)
    assert {row.stage for row in rows} == {"live"}
    assert all(row.lease_owner is None and row.platform_post_id for row in rows)
    assert [_audited(workbench, row.id) for row in rows] == [[], [], []]


@pytest.mark.parametrize("platform", list(Platform))
def test_a_removed_post_is_noticed_told_and_never_posted_again(
    workbench: Workbench, platform: Platform
) -> None:
    """Stage `removed` (PUBLISHED to an old reader), a fact with its time, one notice, no new post."""
    workbench.sandbox.set_limits(tiktok={"moderationMs": 0})
    video, ids = _scheduled(workbench, platform)
    gone: list[str] = []

    def remove_once() -> None:
        posts = workbench.public_posts(video)
        (row,) = workbench.rows(ids)
        if posts and not gone and row.stage == "live" and row.platform_post_id:
            gone.append(posts[0]["id"])
            workbench.sandbox.remove_post(platform.value.lower(), posts[0]["id"])

    run_until(workbench, ids, all_at("removed"), meanwhile=remove_once)
    (row,) = workbench.rows(ids)
    assert row.status.value == "PUBLISHED"
    assert (row.error_code, row.next_attempt_at, row.lease_owner) == ("removed", None, None)
    assert _audited(workbench, ids[0]) == ["publication.removed"]
    (notice,) = _notices(workbench, ids[0])
    assert notice["platformPostId"] == gone[0]
    assert workbench.public_posts(video) == []
    with workbench.engine.connect() as connection:
        commits = connection.execute(
            text('SELECT count(*) FROM publication_steps WHERE "publicationId" = :id '
                 'AND "canPublish"'),
            {"id": ids[0]},
        ).scalar_one()  # fmt: skip
    assert commits == 1


def test_a_slow_platform_is_a_state_and_a_restart_resumes_the_ladder(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of processing: `confirming` without an error; another dispatcher asks on from there."""
    workbench.sandbox.set_limits(tiktok={"processingMs": 3_600_000})
    monkeypatch.setenv("MINITIK_CONFIRM_LADDER", "0.2,0.2,600,3600")
    workbench.settings = Settings()
    _, ids = _scheduled(workbench, Platform.TIKTOK)

    def waits_long(rows: list[Publication]) -> bool:
        return rows[0].stage == "confirming" and rows[0].lease_owner is None

    run_until(workbench, ids, waits_long)
    (row,) = workbench.rows(ids)
    assert (row.error, row.error_code, row.status.value) == (None, None, "PUBLISHING")
    assert row.confirm_polls == 3
    assert row.next_attempt_at is not None
    assert row.next_attempt_at - workbench.now() > timedelta(minutes=9)

    workbench.sandbox.call("POST", "/_sandbox/time", {"advanceSeconds": 1800})
    _wake_now(workbench, ids[0])
    run_until(workbench, ids, lambda rows: waits_long(rows) and rows[0].confirm_polls == 4)
    (row,) = workbench.rows(ids)
    assert row.next_attempt_at is not None
    assert row.next_attempt_at - workbench.now() > timedelta(minutes=59)


def test_a_tiktok_id_is_resolved_when_moderation_ends(workbench: Workbench) -> None:
    """PUBLISH_COMPLETE is live at once; the public id comes later, and then the live checks."""
    workbench.sandbox.set_limits(tiktok={"moderationMs": 3_600_000})
    _, ids = _scheduled(workbench, Platform.TIKTOK)

    def live_without_id(rows: list[Publication]) -> bool:
        return rows[0].stage == "live" and (rows[0].confirm_polls or 0) >= 4

    run_until(workbench, ids, live_without_id)
    (row,) = workbench.rows(ids)
    assert (row.platform_post_id, row.error) == (None, None)
    assert row.verified_at is not None
    assert row.next_attempt_at is not None

    workbench.sandbox.call("POST", "/_sandbox/time", {"advanceSeconds": 3_700})
    _wake_now(workbench, ids[0])
    run_until(workbench, ids, lambda rows: rows[0].platform_post_id is not None and _checked(rows))
    (after,) = workbench.rows(ids)
    assert after.verified_at == row.verified_at
    assert after.permalink is None or str(after.platform_post_id) in after.permalink


def test_a_private_post_without_an_id_is_not_looked_at(workbench: Workbench) -> None:
    """TikTok never gives a SELF_ONLY post an id: nothing can be asked, nothing waits."""
    _, ids = _scheduled(workbench, Platform.TIKTOK, privacy="SELF_ONLY")
    run_until(workbench, ids, all_at("live"))
    (row,) = workbench.rows(ids)
    assert (row.platform_post_id, row.next_attempt_at, row.lease_owner) == (None, None, None)


def test_a_removal_seen_once_is_not_believed(workbench: Workbench) -> None:
    """Lists lag: one stale answer is asked about again, and the post stays live."""
    workbench.sandbox.set_limits(tiktok={"moderationMs": 0})
    workbench.sandbox.add_fault(
        platform="tiktok", operation="list", kind="stale-read", count=1, delayMs=3_600_000
    )
    _, ids = _scheduled(workbench, Platform.TIKTOK)

    def looked() -> int:
        return sum(call["operation"] == "list" for call in workbench.sandbox.calls())

    run_until(workbench, ids, lambda rows: looked() >= 2 and rows[0].lease_owner is None)
    (row,) = workbench.rows(ids)
    assert row.stage == Stage.LIVE
    assert _audited(workbench, ids[0]) == []


def _checks(*ages: timedelta) -> LiveChecks:
    policy = replace(EnginePolicy.from_settings(Settings(), resident=True), live_checks=ages)
    endings = Endings(cast("Any", None), cast("Any", None), policy, cast("Any", None), Random(7))
    return LiveChecks(endings)


def test_the_next_check_follows_from_the_age_alone() -> None:
    """5 min, 1 h, 24 h after it went live, up to a tenth later; after the last one none."""
    checks = _checks(timedelta(minutes=5), timedelta(hours=1), timedelta(hours=24))
    for age, expected in (
        (timedelta(0), timedelta(minutes=5)),
        (timedelta(minutes=5, seconds=10), timedelta(hours=1)),
        (timedelta(hours=3), timedelta(hours=24)),
    ):
        found = checks.next_after(NOON, NOON + age)
        assert found is not None
        assert expected <= found - NOON <= expected * 1.1
    assert checks.next_after(NOON, NOON + timedelta(hours=25)) is None


def test_posts_of_one_instant_are_not_looked_at_in_one_instant() -> None:
    """A thousand posts of 09:00 would spend the platforms' budgets at 09:05."""
    checks = _checks(timedelta(minutes=5))
    times = {checks.next_after(NOON, NOON) for _ in range(50)}
    assert len(times) > 40

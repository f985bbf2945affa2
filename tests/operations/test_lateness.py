"""Lateness by day and platform: what counts, against the objective, as an asset, a check and a command."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, build_schedule_context
from sqlalchemy import Engine

from minitik_dagster.db.types import Platform
from minitik_dagster.definitions import defs
from minitik_dagster.operations import lateness
from tests.api.scene import Scene
from tests.cli.running import Command
from tests.operations.posts import post

_LETTER = """
INSERT INTO dead_letters (id, "publicationId", "contentId", "accountId", platform, code, reason, fix,
    story, "createdAt")
SELECT id, id, "contentId", "accountId", platform, 'media', 'r', 'f', '{}', :now
FROM publications WHERE id = :id
"""
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).date()


class Day:
    """Yesterday's posts of one person."""

    def __init__(self, engine: Engine, scene: Scene) -> None:
        self.engine, self.scene = engine, scene
        self.person = scene.person()
        self.accounts: dict[Platform, str] = {}

    def post(self, platform: Platform, late_ms: float | None, **change: Any) -> str:
        """A post that was due yesterday and sent so late, None: not at all."""
        if platform not in self.accounts:
            self.accounts[platform] = self.scene.account(self.person, platform)
        made = post(self.engine, self.scene, self.person, self.accounts[platform])
        due = datetime.combine(YESTERDAY, datetime.min.time()) + timedelta(hours=12)
        values = {
            "dueAt": due,
            "prepareAt": due - timedelta(minutes=10),
            "createdAt": due - timedelta(days=1),
            "committedAt": due + timedelta(milliseconds=late_ms) if late_ms is not None else None,
            "stage": "live" if late_ms is not None else "scheduled",
        } | change
        columns = ", ".join(f'"{name}" = :{name}' for name in values)
        self.scene.run(
            f"UPDATE publications SET {columns} WHERE id = :id",  # noqa: S608 - names of ours
            id=made,
            **values,
        )
        return made


@pytest.fixture
def day(engine: Engine, scene: Scene) -> Day:
    return Day(engine, scene)


def _measured(engine: Engine) -> dict[str, lateness.Day]:
    with engine.begin() as connection:
        return {one.platform: one for one in lateness.measure(connection, YESTERDAY)}


def test_a_day_is_measured_by_platform_from_the_posts_that_could_be_prepared(
    day: Day, engine: Engine
) -> None:
    """Exact percentiles; what was published at once, paused, cancelled or in review does not count."""
    for late in (1, 2, 3, 4, 900):
        day.post(Platform.TIKTOK, late)
    beyond = day.post(Platform.YOUTUBE, 1500)
    day.post(Platform.YOUTUBE, None)
    due = datetime.combine(YESTERDAY, datetime.min.time()) + timedelta(hours=12)
    day.post(Platform.YOUTUBE, 60_000, createdAt=due, prepareAt=due)
    for stage in ("paused", "held", "cancelled", "review"):
        day.post(Platform.YOUTUBE, None, stage=stage)
    day.post(
        Platform.YOUTUBE, 1, dueAt=due + timedelta(days=1), committedAt=due + timedelta(days=1)
    )
    found = _measured(engine)
    assert found == {
        "tiktok": lateness.Day(YESTERDAY, "tiktok", 5, 5, 1000, 0, 0, 3.0, 900.0, 900.0),
        "youtube": lateness.Day(YESTERDAY, "youtube", 1, 0, 1000, 1, 1, 1500.0, 1500.0, 1500.0),
    }
    assert (found["tiktok"].share, found["tiktok"].is_kept) == (1.0, True)
    assert (found["youtube"].share, found["youtube"].is_kept) == (0.0, False)
    with engine.connect() as connection:
        assert [item.id for item in lateness.worst(connection, YESTERDAY)] == [beyond]
    assert _measured(engine) == found, "a second measure changes nothing"


def test_the_last_complete_day_and_today_are_told_by_step_as_they_stand(
    day: Day, engine: Engine
) -> None:
    """By the same rules as a day's measure; older days and what was published at once are not told."""
    noon = datetime.combine(YESTERDAY, datetime.min.time()) + timedelta(hours=12)
    for late in (2_000, 500, 3_000):
        due = noon + timedelta(milliseconds=late)
        day.post(Platform.TIKTOK, late, acceptedAt=due + timedelta(seconds=1))
    day.post(Platform.TIKTOK, None)
    failed = day.post(Platform.TIKTOK, None, stage="failed")
    day.scene.run(_LETTER, id=failed, now=noon)
    day.post(Platform.TIKTOK, 60_000, createdAt=noon, prepareAt=noon)
    day.post(Platform.TIKTOK, 9_000, dueAt=noon - timedelta(days=1))
    now = datetime.combine(YESTERDAY, datetime.min.time()) + timedelta(days=1)
    day.post(Platform.YOUTUBE, None, dueAt=now, committedAt=now + timedelta(seconds=1))
    with engine.connect() as connection:
        found = {(one.day, one.platform, one.step): one for one in lateness.two_days(connection)}
    assert set(found) == {
        (when, platform, step)
        for when, platform in (("yesterday", "tiktok"), ("today", "youtube"))
        for step in ("committed", "accepted", "verified")
    }
    sent = found["yesterday", "tiktok", "committed"]
    assert (sent.posts, sent.p50, sent.longest, sent.within, sent.missed) == (3, 2, 3, 1, 2)
    assert sent.share == 1 / 5
    assert sent.share == _measured(engine)["tiktok"].share
    accepted = found["yesterday", "tiktok", "accepted"]
    assert (accepted.posts, accepted.p50, accepted.p99) == (3, 3, 4)
    verified = found["yesterday", "tiktok", "verified"]
    assert (verified.posts, verified.p50) == (0, None)
    today = found["today", "youtube", "committed"]
    assert (today.posts, today.p99, today.share) == (1, 1, 1)


def test_a_post_that_was_moved_away_leaves_its_day(day: Day, engine: Engine, scene: Scene) -> None:
    moved = day.post(Platform.TIKTOK, 5)
    assert set(_measured(engine)) == {"tiktok"}
    scene.run(
        "UPDATE publications SET \"dueAt\" = now() + interval '9 days' WHERE id = :id", id=moved
    )
    assert _measured(engine) == {}


def test_the_asset_measures_and_its_check_tells_the_posts_beyond_the_objective(
    day: Day, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the job itself, as the schedule asks for it: yesterday and the day before in one run."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    for _ in range(3):
        day.post(Platform.TIKTOK, 2)
    beyond = day.post(Platform.INSTAGRAM, 2500)
    repository = defs.get_repository_def()
    with DagsterInstance.ephemeral() as instance:
        context = build_schedule_context(
            instance=instance,
            repository_def=repository,
            scheduled_execution_time=datetime.now(UTC).replace(hour=0, minute=25),
        )
        tick = repository.get_schedule_def("measure_lateness_daily").evaluate_tick(context)
        [request] = tick.run_requests or []
        done = defs.resolve_job_def("measure_lateness").execute_in_process(
            instance=instance, tags=dict(request.tags)
        )
        assert done.success
        [made] = instance.fetch_materializations(AssetKey("lateness"), limit=1).records
        [check] = done.get_asset_check_evaluations()
    metadata = made.asset_materialization.metadata if made.asset_materialization else {}
    assert (metadata["posts"].value, metadata["late"].value) == (4, 1)
    assert not check.passed
    assert check.metadata["not_kept"].value == [f"{YESTERDAY} instagram"]
    assert check.metadata["late"].value == [{"id": beyond, "platform": "instagram", "ms": 2500.0}]


def test_the_command_shows_days_and_fails_when_one_missed_its_objective(
    day: Day,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    day.post(Platform.TIKTOK, 2)
    cli = Command(monkeypatch, capsys)
    [shown] = cli.good("lateness", "--json").data
    assert (shown["platform"], shown["p50Ms"], shown["kept"]) == ("tiktok", 2.0, True)
    day.post(Platform.TIKTOK, 5000)
    assert cli("lateness").code == 1

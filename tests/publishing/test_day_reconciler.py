"""A day is reconciled: rows are repaired from what the platforms say, and nothing is published."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from dagster import DagsterInstance
from sqlalchemy import text

from minitik_dagster.assets.reconciled_publications import RECONCILED_KEY
from minitik_dagster.db.types import Platform
from minitik_dagster.definitions import defs
from minitik_dagster.local.workbench import Video, Workbench
from minitik_dagster.publishing.day_reconciler import DayScope, reconcile
from minitik_dagster.publishing.day_report import DayReport
from tests.cli.running import Command
from tests.publishing.running import Done, all_at, run_until

pytestmark = pytest.mark.slow


@pytest.fixture
def minitik(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The console script, in the workbench's environment."""
    return Command(monkeypatch, capsys)


def _published(
    bench: Workbench, *platforms: Platform, until: Done | None = None
) -> tuple[Video, list[str]]:
    bench.sandbox.set_limits(tiktok={"moderationMs": 0})
    accounts = [(bench.add_account(platform), platform) for platform in platforms]
    video = bench.add_video()
    ids = bench.schedule(video, accounts, bench.now() + timedelta(seconds=3))
    run_until(bench, ids, until or all_at("live"))
    return video, ids


def _run(bench: Workbench, statement: str, **values: Any) -> None:
    with bench.engine.begin() as connection:
        connection.execute(text(statement), values)


def _reconcile(bench: Workbench) -> DayReport:
    return asyncio.run(reconcile(bench.settings, DayScope.day(bench.now().date())))


_FORGET = """
UPDATE publications SET stage = :stage, status = CAST(:status AS "PublicationStatus"),
    "platformPostId" = NULL, permalink = NULL, "verifiedAt" = NULL, "acceptedAt" = NULL,
    "nextAttemptAt" = NULL, "errorCode" = 'needs_review'
"""
_GIVE_UP = """
UPDATE publication_steps SET outcome = 'unknown' WHERE "canPublish"
"""
_REOPEN = """
UPDATE publication_steps SET outcome = NULL, "endedAt" = NULL, "sentAt" = NULL WHERE "canPublish"
"""


@pytest.mark.parametrize(("stage", "status"), [("review", "PUBLISHING"), ("failed", "FAILED")])
def test_what_was_given_up_and_is_public_after_all_becomes_live(
    workbench: Workbench, stage: str, status: str
) -> None:
    """The ledger has its one success, the id is bound, and a second run changes nothing."""
    video, ids = _published(workbench, *Platform)
    before = {row.id: row.platform_post_id for row in workbench.rows(ids)}
    _run(workbench, _FORGET, stage=stage, status=status)
    _run(workbench, _GIVE_UP)
    _run(workbench, "UPDATE handles SET state = 'dropped'")
    report = _reconcile(workbench)
    assert (report.asked, len(report.differences), report.unanswered) == (3, 3, 0)
    rows = workbench.rows(ids)
    assert {row.id: row.platform_post_id for row in rows} == before
    assert {(row.stage, row.error_code, row.lease_owner) for row in rows} == {("live", None, None)}
    assert report.table().count("\n") == 4
    assert not _reconcile(workbench).differences
    assert len(workbench.public_posts(video)) == 3


def test_an_open_commit_that_a_crash_left_behind_is_settled(workbench: Workbench) -> None:
    """As the dispatchers do it, under the row's lease."""
    video, ids = _published(workbench, *Platform)
    _run(workbench, _FORGET, stage="unknown", status="PUBLISHING")
    _run(workbench, _REOPEN)
    _run(workbench, "UPDATE handles SET state = 'active'")
    report = _reconcile(workbench)
    assert {row.stage for row in workbench.rows(ids)} == {"live"}
    assert {item.before for item in report.differences} == {"unknown"}
    assert not _reconcile(workbench).differences
    assert len(workbench.public_posts(video)) == 3


def test_what_did_not_happen_goes_back_and_is_not_sent(workbench: Workbench) -> None:
    """The reconciler never publishes: the post is `prepared` again, and nothing is public."""
    account = workbench.add_account(Platform.YOUTUBE)
    video = workbench.add_video()
    ids = workbench.schedule(
        video, [(account, Platform.YOUTUBE)], workbench.now() + timedelta(minutes=20)
    )
    run_until(
        workbench, ids, lambda rows: rows[0].stage == "prepared" and rows[0].lease_owner is None
    )
    _run(
        workbench,
        """
        WITH p AS (UPDATE publications SET stage = 'committing',
            "dueAt" = "dueAt" - interval '21 minutes' RETURNING *)
        INSERT INTO publication_steps (id, "publicationId", "accountId", platform, "handleId",
            name, attempt, "canPublish", "leaseToken", revision, "startedAt", "sendBy",
            "policyVersion")
        SELECT 'lost', p.id, p."accountId", p.platform, h.id, 'commit', 1, true, 1, p.revision,
            p."dueAt", p."dueAt", 'test' FROM p JOIN handles h ON h."publicationId" = p.id
        """,
    )
    scope = DayScope(ids=tuple(ids))
    report = asyncio.run(reconcile(workbench.settings, scope))
    (row,) = workbench.rows(ids)
    assert (row.stage, row.lease_owner) == ("prepared", None)
    assert [(item.before, item.after) for item in report.differences] == [
        ("committing", "prepared")
    ]
    assert workbench.public_posts(video) == []
    assert asyncio.run(reconcile(workbench.settings, scope)).asked == 0


def test_what_a_dispatcher_holds_is_left_to_it(workbench: Workbench) -> None:
    """R7: expired leases only."""
    _, ids = _published(workbench, Platform.YOUTUBE)
    _run(workbench, _FORGET, stage="review", status="PUBLISHING")
    _run(
        workbench,
        'UPDATE publications SET "leaseOwner" = \'another\', "leaseExpiresAt" = '
        "(statement_timestamp() AT TIME ZONE 'UTC') + interval '1 minute'",
    )
    report = _reconcile(workbench)
    assert (report.asked, report.busy) == (0, 1)
    (row,) = workbench.rows(ids)
    assert (row.stage, row.lease_owner) == ("review", "another")


def test_another_day_is_not_touched(workbench: Workbench) -> None:
    """A partition is the UTC day of `dueAt`."""
    _, _ids = _published(workbench, Platform.YOUTUBE)
    _run(workbench, _FORGET, stage="review", status="PUBLISHING")
    yesterday = workbench.now().date() - timedelta(days=1)
    report = asyncio.run(reconcile(workbench.settings, DayScope.day(yesterday)))
    assert report.asked == 0


def test_an_operator_reconciles_one_post_or_a_day(workbench: Workbench, minitik: Command) -> None:
    """Differences are shown with ids only; what is not there or not named is refused."""
    _, ids = _published(workbench, Platform.YOUTUBE)
    _run(workbench, _FORGET, stage="review", status="PUBLISHING")
    _run(workbench, _GIVE_UP)
    _run(workbench, "UPDATE handles SET state = 'dropped'")
    said = minitik("publications", "reconcile", ids[0], "--json")
    assert said.code == 0
    (difference,) = said.data["differences"]
    assert (difference["publicationId"], difference["before"]) == (ids[0], "review")
    today = f"{workbench.now():%Y-%m-%d}"
    assert minitik("publications", "reconcile", "--day", today).out == "nothing to repair\n"
    assert "no publication" in minitik.refused("publications", "reconcile", "nothing")
    assert "--day" in minitik.refused("publications", "reconcile", code=2)


def test_a_partition_of_the_asset_reconciles_its_day(workbench: Workbench) -> None:
    """A real run in Dagster; its metadata names ids and counts."""
    _, ids = _published(workbench, Platform.INSTAGRAM)
    _run(workbench, _FORGET, stage="review", status="PUBLISHING")
    _run(workbench, _GIVE_UP)
    _run(workbench, "UPDATE handles SET state = 'dropped'")
    today = f"{workbench.now():%Y-%m-%d}"
    with DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def("reconcile_publications")
        done = job.execute_in_process(partition_key=today, instance=instance)
    (event,) = done.asset_materializations_for_node("reconciled_publications")
    assert event.partition == today
    assert event.metadata["repaired"].value == 1
    assert ids[0] in str(event.metadata["differences"].value)
    assert {row.stage for row in workbench.rows(ids)} == {"live"}


def test_a_backfill_over_a_range_is_one_run_and_covers_every_day(workbench: Workbench) -> None:
    """A month to a run: each day's partition is materialized, whatever it holds."""
    today = workbench.now().date()
    days = [f"{today - timedelta(days=ago):%Y-%m-%d}" for ago in (2, 1, 0)]
    tags = {
        "dagster/asset_partition_range_start": days[0],
        "dagster/asset_partition_range_end": days[-1],
    }
    with DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def("reconcile_publications")
        done = job.execute_in_process(instance=instance, tags=tags)
        events = done.asset_materializations_for_node("reconciled_publications")
        assert sorted(str(event.partition) for event in events) == days
        policy = job.asset_layer.get(RECONCILED_KEY).backfill_policy
    assert policy is not None
    assert policy.max_partitions_per_run == 31

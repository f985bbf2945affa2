"""YouTube's daily reports: backfilled, read again, and identical when nothing has changed."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dagster import AssetKey, DagsterInstance, build_schedule_context, materialize

from minitik_dagster.analytics.names import YOUTUBE_DAILY
from minitik_dagster.assets.youtube_reports import PACIFIC_DAYS, youtube_daily_reports
from minitik_dagster.db.types import Platform
from minitik_dagster.definitions import defs
from tests.analytics.scene import AnalyticsScene

PACIFIC = ZoneInfo("America/Los_Angeles")
TODAY = datetime.now(PACIFIC).date()


def backfill(first: date, last: date) -> dict[str, Any]:
    """A backfill of the days, as one run; returns the run's metadata."""
    tags = {
        "dagster/asset_partition_range_start": f"{first}",
        "dagster/asset_partition_range_end": f"{last}",
    }
    with DagsterInstance.ephemeral() as instance:
        result = materialize(
            [youtube_daily_reports],
            instance=instance,
            tags=tags,
            resources=defs.resources,
            selection=[AssetKey("youtube_daily_reports")],
        )
    assert result.success
    events = result.get_asset_materialization_events()
    assert len(events) == (last - first).days + 1, "a materialization for each day"
    return {name: value.value for name, value in events[0].materialization.metadata.items()}


def channel(scene: AnalyticsScene, days: int) -> str:
    """A connected channel whose first video went public some days ago."""
    account = scene.account(Platform.YOUTUBE)
    scene.post(account, live_at=datetime.now(UTC) - timedelta(days=days))
    return account


def test_a_backfill_is_one_call_per_channel_and_the_same_when_run_twice(
    scene: AnalyticsScene,
) -> None:
    """Days before the channel's first have no document, nor have those that lag: none is 0."""
    accounts = [channel(scene, 40), channel(scene, 10)]
    scene.sandbox.set_limits(youtube={"analyticsLagDays": 3})
    first, last = TODAY - timedelta(days=60), TODAY - timedelta(days=1)
    told = backfill(first, last)
    assert (told["channels"], told["calls"], told["failed"]) == (2, 2, 0)
    before = scene.documents(YOUTUBE_DAILY)
    days = {
        account: sorted(row["day"].date() for row in before if row["accountId"] == account)
        for account in accounts
    }
    assert (TODAY - days[accounts[0]][0]).days in {40, 41}
    assert (TODAY - days[accounts[1]][0]).days in {10, 11}
    assert all(TODAY - timedelta(days=3) == found[-1] for found in days.values())
    assert {row["zone"] for row in before} == {"America/Los_Angeles"}
    assert all(row["views"] >= row["engagedViews"] for row in before)
    backfill(first, last)
    assert scene.documents(YOUTUBE_DAILY) == before
    scene.sandbox.set_limits(youtube={"analyticsLagDays": 1})
    assert backfill(last - timedelta(days=3), last)["rows"] == 2 * 4, (
        "the trailing days, read again"
    )
    assert len(scene.documents(YOUTUBE_DAILY)) == len(before) + 2 * 2


def test_a_channel_that_cannot_be_read_keeps_what_it_had(scene: AnalyticsScene) -> None:
    good, bad = channel(scene, 10), channel(scene, 10)
    first, last = TODAY - timedelta(days=9), TODAY - timedelta(days=1)
    backfill(first, last)
    before = len(scene.documents(YOUTUBE_DAILY))
    scene.sandbox.add_fault(
        platform="youtube", operation="analytics", kind="status", status=403, count=9,
        code="insufficientPermissions", account=scene.accounts.row(bad).platform_account_id,
    )  # fmt: skip
    told = backfill(first, last)
    assert (told["failed"], told["bad_accounts"]) == (1, {bad: "insufficientPermissions"})
    assert len(scene.documents(YOUTUBE_DAILY)) == before
    assert good != bad


def test_the_trailing_days_are_asked_for_each_day() -> None:
    """One run over a range of partitions that exist."""
    repository = defs.get_repository_def()
    with DagsterInstance.ephemeral() as instance:
        context = build_schedule_context(
            instance=instance,
            repository_def=repository,
            scheduled_execution_time=datetime(2026, 3, 9, 12, tzinfo=PACIFIC),
        )
        tick = repository.get_schedule_def("read_youtube_reports_every_day").evaluate_tick(context)
    [request] = tick.run_requests or []
    start = request.tags["dagster/asset_partition_range_start"]
    end = request.tags["dagster/asset_partition_range_end"]
    assert (start, end) == ("2026-03-05", "2026-03-08")
    assert PACIFIC_DAYS.has_partition_key(end)

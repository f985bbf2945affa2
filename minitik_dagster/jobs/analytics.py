"""The jobs of analytics and their schedules: readings at the hour, rollups after them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from dagster import (
    AssetSelection,
    DefaultScheduleStatus,
    RunRequest,
    ScheduleEvaluationContext,
    SkipReason,
    define_asset_job,
    in_process_executor,
    schedule,
)
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from minitik_dagster.analytics.youtube_reports import TRAILING_DAYS, ZONE_NAME
from minitik_dagster.assets.exports import exports
from minitik_dagster.assets.metric_checks import metric_checks
from minitik_dagster.assets.metrics import (
    DAYS,
    METRIC_SNAPSHOTS_KEY,
    account_performance,
    content_performance,
    daily_metrics,
    metric_snapshots,
)
from minitik_dagster.assets.youtube_reports import youtube_daily_reports
from minitik_dagster.jobs.finish_exports import finish_exports
from minitik_dagster.resources.analytics import late_days
from minitik_dagster.settings import load_settings

_HOUR: Final = timedelta(hours=1)
# An hour that no run has taken is asked for again for so long: a reading may be taken until the
# post's next one is due.
_CATCH_UP_HOURS: Final = 6
# More late days than that wait for the next hours: each is a run.
_LATE_AT_ONCE: Final = 6

read_metrics = define_asset_job(
    "read_metrics",
    selection=AssetSelection.assets(metric_snapshots),
    executor_def=in_process_executor,
    description="Reads the counters that fell due at an hour. Inserts what is missing; safe at any time.",
    tags={"minitik/kind": "analytics"},
)

roll_up_metrics = define_asset_job(
    "roll_up_metrics",
    selection=(
        AssetSelection.assets(daily_metrics, content_performance, account_performance)
        | AssetSelection.checks(metric_checks)
    ),
    executor_def=in_process_executor,
    description="Rolls a day's readings up into posts' and accounts' totals, and asks the checks.",
    tags={"minitik/kind": "analytics"},
)

read_youtube_reports = define_asset_job(
    "read_youtube_reports",
    selection=AssetSelection.assets(youtube_daily_reports),
    executor_def=in_process_executor,
    description="Reads YouTube's own daily reports, one call per channel for a whole range of days.",
    tags={"minitik/kind": "analytics"},
)

write_lake = define_asset_job(
    "write_lake",
    selection=AssetSelection.assets(exports),
    executor_def=in_process_executor,
    description="Writes a day's increases as a parquet file into the bucket; safe at any time.",
    tags={"minitik/kind": "analytics"},
)


@schedule(
    job=read_metrics,
    cron_schedule="0,30 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="This hour's readings, at the hour and once more for what failed; and hours left out.",
)
def read_metrics_every_hour(
    context: ScheduleEvaluationContext,
) -> Iterator[RunRequest | SkipReason]:
    """Ask for this hour's partition, and for the last hours' that were never taken."""
    if load_settings().minitik_dispatch == "off":
        yield SkipReason("MINITIK_DISPATCH is off: this deployment asks no platform")
        return
    now = context.scheduled_execution_time.astimezone(UTC)
    hours = [_key(now)]
    if now.minute == 0:
        taken = context.instance.get_materialized_partitions(METRIC_SNAPSHOTS_KEY)
        earlier = [_key(now - n * _HOUR) for n in range(_CATCH_UP_HOURS, 0, -1)]
        # Before the first reading of all there is nothing to catch up with.
        hours += [key for key in earlier if taken and key not in taken]
    for key in hours:
        yield RunRequest(run_key=f"{key}@{now:%Y-%m-%dT%H:%M}", partition_key=key)


@schedule(
    job=roll_up_metrics,
    cron_schedule="10 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description=(
        "Today's rollup each hour, yesterday's once more after midnight, and days of which a reading "
        "arrived when they were over."
    ),
)
def roll_up_metrics_every_hour(context: ScheduleEvaluationContext) -> Iterator[RunRequest]:
    """Ask for today's partition; after midnight for yesterday's, which the last hour has ended."""
    now = context.scheduled_execution_time.astimezone(UTC)
    days = [now - timedelta(days=1), now] if now.hour == 0 else [now]
    keys = [f"{day:%Y-%m-%d}" for day in days]
    first = f"{DAYS.start:%Y-%m-%d}"
    late = [key for key in late_days(load_settings()) if first <= key < keys[0]]
    for key in (*keys, *late[:_LATE_AT_ONCE]):
        yield RunRequest(run_key=f"{key}@{now:%Y-%m-%dT%H}", partition_key=key)


@schedule(
    job=read_youtube_reports,
    cron_schedule="0 12 * * *",
    execution_timezone=ZONE_NAME,
    default_status=DefaultScheduleStatus.RUNNING,
    description="The trailing days again: YouTube's data lag by 48 to 72 hours.",
)
def read_youtube_reports_every_day(
    context: ScheduleEvaluationContext,
) -> RunRequest | SkipReason:
    """Ask for the last days in one run."""
    if load_settings().minitik_dispatch == "off":
        return SkipReason("MINITIK_DISPATCH is off: this deployment asks no platform")
    today = context.scheduled_execution_time.astimezone(ZoneInfo(ZONE_NAME)).date()
    first, last = today - timedelta(days=TRAILING_DAYS), today - timedelta(days=1)
    return RunRequest(
        run_key=f"{today}",
        tags={
            ASSET_PARTITION_RANGE_START_TAG: f"{first}",
            ASSET_PARTITION_RANGE_END_TAG: f"{last}",
        },
    )


@schedule(
    job=write_lake,
    cron_schedule="30 1 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Yesterday's file, when its rollup has ended.",
)
def write_lake_every_day(context: ScheduleEvaluationContext) -> RunRequest:
    """Ask for yesterday's partition."""
    day = context.scheduled_execution_time.astimezone(UTC) - timedelta(days=1)
    return RunRequest(run_key=f"{day:%Y-%m-%d}", partition_key=f"{day:%Y-%m-%d}")


def _key(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d-%H}:00"


ASSETS: Final = (
    metric_snapshots,
    daily_metrics,
    content_performance,
    account_performance,
    exports,
    youtube_daily_reports,
)
CHECKS: Final = (metric_checks,)
JOBS: Final = (read_metrics, roll_up_metrics, read_youtube_reports, write_lake, finish_exports)
SCHEDULES: Final = (
    read_metrics_every_hour,
    roll_up_metrics_every_hour,
    read_youtube_reports_every_day,
    write_lake_every_day,
)

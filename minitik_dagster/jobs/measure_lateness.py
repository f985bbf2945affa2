"""The job `measure_lateness` and its schedule."""

from collections.abc import Iterator
from datetime import UTC, timedelta

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

from minitik_dagster.assets.lateness import lateness, posts_are_on_time
from minitik_dagster.resources.deployment import why_idle

measure_lateness = define_asset_job(
    "measure_lateness",
    selection=AssetSelection.assets(lateness) | AssetSelection.checks(posts_are_on_time),
    executor_def=in_process_executor,
    description="Measures how late days' posts were sent, and judges the last two. Safe at any time.",
    tags={"minitik/kind": "lateness"},
)


@schedule(
    job=measure_lateness,
    cron_schedule="25 0 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Yesterday, and the day before once more: what was sent a day late counts there.",
)
def measure_lateness_daily(
    context: ScheduleEvaluationContext,
) -> Iterator[RunRequest | SkipReason]:
    """Ask for both days in one run."""
    idle = why_idle()
    if idle is not None:
        yield SkipReason(idle)
        return
    yesterday = (context.scheduled_execution_time.astimezone(UTC) - timedelta(days=1)).date()
    yield RunRequest(
        run_key=f"{yesterday}",
        tags={
            ASSET_PARTITION_RANGE_START_TAG: f"{yesterday - timedelta(days=1)}",
            ASSET_PARTITION_RANGE_END_TAG: f"{yesterday}",
        },
    )

"""Jobs and schedules of upkeep: reconciling days, asking the checks."""

from collections.abc import Iterator
from datetime import UTC, timedelta

from dagster import (
    AssetSelection,
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    define_asset_job,
    in_process_executor,
    schedule,
)

from minitik_dagster.assets.publication_checks import publication_checks
from minitik_dagster.assets.reconciled_publications import reconciled_publications
from minitik_dagster.resources.deployment import why_idle

reconcile_publications = define_asset_job(
    "reconcile_publications",
    selection=AssetSelection.assets(reconciled_publications),
    executor_def=in_process_executor,
    description="Asks the platforms about a day's unsettled posts and repairs the rows. Never publishes.",
    tags={"minitik/kind": "reconcile"},
)

check_publications = define_asset_job(
    "check_publications",
    selection=AssetSelection.checks(publication_checks),
    executor_def=in_process_executor,
    description="Asks every question of the engine's health in one run; safe at any time.",
    tags={"minitik/kind": "check"},
)

check_publications_every_15_minutes = ScheduleDefinition(
    name="check_publications_every_15_minutes",
    job=check_publications,
    cron_schedule="*/15 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Each check costs a run's start: one run asks them all.",
)


@schedule(
    job=reconcile_publications,
    cron_schedule="20 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Yesterday and today, each hour: what dispatchers have not settled by themselves.",
)
def reconcile_yesterday_and_today(
    context: ScheduleEvaluationContext,
) -> Iterator[RunRequest | SkipReason]:
    """Ask for both days' partitions."""
    idle = why_idle()
    if idle is not None:
        yield SkipReason(idle)
        return
    now = context.scheduled_execution_time.astimezone(UTC)
    for day in (now - timedelta(days=1), now):
        key = f"{day:%Y-%m-%d}"
        yield RunRequest(run_key=f"{key}@{now:%Y-%m-%dT%H}", partition_key=key)

"""Jobs and schedules of upkeep: reconciling days, asking the checks, forgetting platforms' events."""

from collections.abc import Iterator
from datetime import UTC, timedelta

from dagster import (
    AssetSelection,
    DefaultScheduleStatus,
    OpExecutionContext,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    define_asset_job,
    in_process_executor,
    job,
    op,
    schedule,
)

from minitik_dagster.assets.publication_checks import publication_checks
from minitik_dagster.assets.reconciled_publications import reconciled_publications
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.deployment import require_own_database, why_idle

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


@op(description="Deletes platforms' events that were received more than 7 days ago.")
def forget_old_events(context: OpExecutionContext, database: DatabaseResource) -> None:
    """Delete them; how many is the output's metadata."""
    # Lazy: definitions load fast.
    from sqlalchemy.orm import Session

    from minitik_dagster.publishing.inbound_events import forget_old

    require_own_database()
    with database.connect() as connection, Session(connection) as session, session.begin():
        count = forget_old(session)
    context.add_output_metadata({"events": count})


@job(
    description="Deletes platforms' events of more than 7 days ago, when none can be repeated any more.",
    executor_def=in_process_executor,
    tags={"minitik/kind": "upkeep"},
)
def forget_platform_events() -> None:
    """Run one purge."""
    forget_old_events()


@schedule(
    job=forget_platform_events,
    cron_schedule="50 3 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="They hold the platforms' ids of people, and are of no use after a week.",
)
def forget_platform_events_daily() -> RunRequest | SkipReason:
    """Ask for a run, where this deployment may clear the database."""
    idle = why_idle()
    return RunRequest() if idle is None else SkipReason(idle)

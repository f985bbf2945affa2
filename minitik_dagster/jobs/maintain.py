"""The job `maintain` and its schedule: clearing away what has ended, once a day."""

from dagster import (
    DefaultScheduleStatus,
    MetadataValue,
    OpExecutionContext,
    RunRequest,
    SkipReason,
    in_process_executor,
    job,
    op,
    schedule,
)

from minitik_dagster.resources.deployment import require_own_database, run_unless_idle
from minitik_dagster.resources.settings import SettingsResource


@op(
    description="Removes expired rows, media of deleted contents, old exports, runs and ticks; says what."
)
def clear_what_has_ended(context: OpExecutionContext, settings: SettingsResource) -> None:
    """Clear once; what was removed is the output's metadata."""
    # Lazy: definitions load fast.
    from minitik_dagster.db.engine import make_engine
    from minitik_dagster.media.object_store import ObjectStore
    from minitik_dagster.operations.upkeep import Cleared, clear_media, clear_rows
    from minitik_dagster.resources.dagster_upkeep import clear_dagster

    require_own_database()
    environment = settings.load()
    cleared = Cleared()
    engine = make_engine(environment.require_database_url(), pool_size=1, max_overflow=1)
    try:
        clear_rows(engine, cleared)
        if environment.aws_s3_bucket:
            clear_media(engine, ObjectStore.from_settings(environment), cleared)
    finally:
        engine.dispose()
    cleared.rows += clear_dagster(context.instance)
    context.log.info("removed: %s", dict(cleared.rows))
    context.add_output_metadata({"removed": MetadataValue.md(cleared.table())})


@job(
    description="Clears away what has ended; history that people rely on stays. Safe at any time.",
    executor_def=in_process_executor,
    tags={"minitik/kind": "maintain"},
)
def maintain() -> None:
    """Clear once."""
    clear_what_has_ended()


@schedule(
    job=maintain,
    cron_schedule="40 3 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Once a day, when little is due.",
)
def maintain_daily() -> RunRequest | SkipReason:
    """Ask for a run, where this deployment may change the database's media."""
    return run_unless_idle()

"""The job `tidy_uploads` and its schedule: ends uploads nobody ended, deletes what the bucket still holds."""

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

from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.deployment import require_own_database, why_idle
from minitik_dagster.resources.object_store import ObjectStoreResource
from minitik_dagster.resources.settings import SettingsResource


@op(description="Ends uploads whose day is over, then deletes every object that is noted for it.")
def tidy(
    context: OpExecutionContext, settings: SettingsResource, database: DatabaseResource
) -> None:
    """Tidy once; safe at any time and beside another one."""
    # Lazy: definitions load fast.
    from sqlalchemy.orm import sessionmaker

    from minitik_dagster.media.cleaning import Cleaner
    from minitik_dagster.media.uploads import Uploads

    require_own_database()
    store = ObjectStoreResource.from_settings(settings.load()).store()
    sessions = sessionmaker(database.engine(), expire_on_commit=False)
    expired, found = 0, None
    while found != 0:
        with sessions.begin() as session:
            found = Uploads(store).expire_stale(session)
        expired += found
    cleaned = Cleaner(sessions, store).work(most=10_000)
    context.log.info("expired uploads: %d; objects: %s", expired, vars(cleaned))
    context.add_output_metadata(
        {
            "expired_uploads": MetadataValue.int(expired),
            **{f"objects_{name}": MetadataValue.int(n) for name, n in vars(cleaned).items()},
        }
    )


@job(
    description=(
        "Ends uploads that nobody completed within 24 hours and deletes from the bucket what is noted "
        "for it. Never touches what a content holds or a post needs; safe to repeat."
    ),
    executor_def=in_process_executor,
    tags={"minitik/kind": "tidy"},
)
def tidy_uploads() -> None:
    """Tidy once."""
    tidy()


@schedule(
    job=tidy_uploads,
    cron_schedule="7,22,37,52 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Beside the round quarters; a run is asked for only where there is something to do.",
)
def tidy_uploads_every_15_minutes(
    settings: SettingsResource, database: DatabaseResource
) -> RunRequest | SkipReason:
    """Ask for a run when an upload is stale or an object is due to be deleted."""
    from sqlalchemy.orm import Session

    from minitik_dagster.media.cleaning import waiting
    from minitik_dagster.media.uploads import stale_uploads

    idle = why_idle()
    if idle is not None:
        return SkipReason(idle)
    if not settings.load().aws_s3_bucket:
        return SkipReason("AWS_S3_BUCKET is not set")
    with database.connect() as connection, Session(connection) as session:
        todo = {"objects": waiting(session), "uploads": stale_uploads(session)}
    if not any(todo.values()):
        return SkipReason("no upload is stale and no object is to be deleted")
    return RunRequest(tags={f"minitik/{name}": str(count) for name, count in todo.items()})

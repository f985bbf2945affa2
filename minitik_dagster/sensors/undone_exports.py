"""The sensor `undone_exports`: asks for a run where an export was ordered and left unwritten."""

from dagster import (
    DefaultSensorStatus,
    RunRequest,
    SkipReason,
    sensor,
)
from sqlalchemy.exc import DBAPIError

from minitik_dagster.analytics.export_orders import undone
from minitik_dagster.analytics.live_posts import database_now
from minitik_dagster.jobs.finish_exports import finish_exports
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.deployment import why_idle

# Where a run could not write them either, it is not asked for again sooner.
_AGAIN_AFTER_MINUTES = 10


@sensor(
    job=finish_exports,
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description=(
        "Exports that people ordered are written by the API process at once; what one left undone "
        "when it ended is finished by a run."
    ),
)
def undone_exports(database: DatabaseResource) -> RunRequest | SkipReason:
    """Look once; a run finishes all of them."""
    idle = why_idle()
    if idle is not None:
        return SkipReason(idle)
    try:
        with database.connect() as connection:
            waiting = undone(connection, limit=1)
            now = database_now(connection)
    except DBAPIError as error:
        return SkipReason(f"PostgreSQL does not answer ({type(error.orig).__name__})")
    if not waiting:
        return SkipReason("no export was left undone")
    turn = int(now.timestamp()) // (60 * _AGAIN_AFTER_MINUTES)
    return RunRequest(run_key=f"{waiting[0]}@{turn}")

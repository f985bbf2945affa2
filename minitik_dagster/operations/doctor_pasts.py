"""What this database comes from, under examination: the old system it took over, a backup it was restored from."""

from collections.abc import Iterator

from sqlalchemy import Connection, text

from minitik_dagster.errors import DependencyDownError
from minitik_dagster.operations.findings import Finding, red, yellow
from minitik_dagster.resilience.old_queue import is_running
from minitik_dagster.scheduling.adopt_queries import IS_KEPT_PAUSED
from minitik_dagster.settings import Settings

RESUMED = "the old queue was resumed: its workers may post what was taken over"
RESUMED_FIX = "stop the old system's workers; minitik adopt --yes pauses the queue again"
_NOT_TAKEN = text(
    "SELECT count(*) FROM scheduled_jobs j WHERE j.status IN ('PENDING','ACTIVE') AND NOT "
    'EXISTS (SELECT 1 FROM publications p WHERE p."scheduledJobId" = j.id)'
)


def old_queue(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Jobs that are not taken over, and an old queue that was taken over and runs again."""
    if waiting := connection.execute(_NOT_TAKEN).scalar_one():
        yield yellow(
            "old queue", f"{waiting} jobs of the old system are not taken over", "minitik adopt"
        )
    if old_queue_runs_again(connection, settings):
        yield red("old queue", RESUMED, RESUMED_FIX)


def old_queue_runs_again(connection: Connection, settings: Settings) -> bool | None:
    """Whether a queue that is to stay paused is not; None where Redis cannot be asked."""
    if not connection.execute(text(IS_KEPT_PAUSED)).scalar_one():
        return False
    if settings.redis_url is None:
        return None
    try:
        return is_running(settings.redis_url.get_secret_value())
    except DependencyDownError:
        return None

"""What this database comes from, under examination: an old system, a backup it was restored from."""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import Connection, text

from minitik_dagster.db.instance import is_ours
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import DependencyDownError
from minitik_dagster.operations.findings import Finding, green, red, yellow
from minitik_dagster.publishing import epochs, quarantine
from minitik_dagster.publishing.queries import NOW
from minitik_dagster.resilience.old_queue import is_running
from minitik_dagster.scheduling.adopt_queries import IS_KEPT_PAUSED
from minitik_dagster.settings import Settings

RESUMED = "the old queue was resumed: its workers may post what was taken over"
RESUMED_FIX = "stop the old system's workers; minitik adopt --yes pauses the queue again"
_NOT_TAKEN = text(
    "SELECT count(*) FROM scheduled_jobs j WHERE j.status IN ('PENDING','ACTIVE') AND NOT "
    'EXISTS (SELECT 1 FROM publications p WHERE p."scheduledJobId" = j.id)'
)


_UNMIRRORED_LONG = timedelta(minutes=5)
_TOLD_FOR = timedelta(days=7)


def restores(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Posts in quarantine, a database that was behind lately, and a mirror that is not written."""
    now = from_db(connection.execute(text(f"SELECT {NOW}")).scalar_one())
    if waiting := quarantine.waiting(connection):
        yield red(
            "restore",
            f"{waiting} posts fell due in a time that this database has forgotten, and wait",
            "look at their accounts: minitik restore status, then minitik reviews resolve",
        )
    elif any(now - item.opened_at < _TOLD_FOR for item in quarantine.list_quarantines(connection)):
        yield yellow(
            "restore",
            "this database was behind its mirror: changes of that time are lost",
            "minitik restore status; tell the owners; accounts that were refreshed then connect again",
        )
    if not is_ours(connection, settings) or not settings.aws_s3_bucket:
        return
    at = epochs.mirrored_at(connection)
    if at is not None and now - at > _UNMIRRORED_LONG:
        yield yellow(
            "epoch",
            f"was mirrored to the bucket {int((now - at).total_seconds() // 60)} minutes ago: a "
            "restore of that time would not be noticed",
            "is a dispatcher or the API running, and does the bucket take what is put?",
        )
    elif at is not None:
        yield green("epoch", "is mirrored to the bucket")


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

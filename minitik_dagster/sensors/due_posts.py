"""The sensor `due_posts`: starts dispatchers when something is due that no live one will take."""

import time
from datetime import UTC, datetime, timedelta

from dagster import (
    DefaultSensorStatus,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from minitik_dagster.db.instance import not_ours
from minitik_dagster.jobs.publish_due_posts import publish_due_posts
from minitik_dagster.publishing.due import Waiting, came_and_went, waiting
from minitik_dagster.publishing.pauses import shelve_due
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.settings import load_settings

MOST_SHARDS = 4
# Runs that were asked for and have not begun; a second one would find nothing to claim.
_STARTING_SECONDS = 30


def decide(found: Waiting, *, asked_recently: bool, tick: str) -> SensorResult | SkipReason:
    """Turn what waits into run requests; pure, so that it is tested without Dagster."""
    if found.count == 0 and found.discards == 0:
        return SkipReason("nothing is due that no live dispatcher will take")
    if asked_recently:
        waits = found.count + found.discards
        return SkipReason(f"{waits} waiting; the dispatcher asked for is still starting")
    requests = [
        RunRequest(
            run_key=f"{tick}-{shard}",
            run_config={"ops": {"dispatch_window": {"config": {"shard": shard}}}},
            tags={
                "minitik/waiting": str(found.count),
                "minitik/discards": str(found.discards),
            },
        )
        for shard in range(found.shards(MOST_SHARDS))
    ]
    return SensorResult(run_requests=requests, cursor=tick)


@sensor(
    job=publish_due_posts,
    # The daemon looks every 5 s; an interval of 5 would skip every second look by some milliseconds.
    minimum_interval_seconds=1,
    default_status=DefaultSensorStatus.RUNNING,
    description="Looks ahead each 5 s: is any publication's wake reached that nobody will take?",
)
def due_posts(
    context: SensorEvaluationContext, database: DatabaseResource
) -> SensorResult | SkipReason:
    """Ask PostgreSQL one indexed question; the cursor is advisory only."""
    settings = load_settings()
    if settings.minitik_dispatch == "off":
        return SkipReason("MINITIK_DISPATCH is off: this deployment does not publish")
    try:
        with database.connect() as connection:
            idle = not_ours(connection, settings)
            if idle is not None:
                return SkipReason(f"{idle}: this deployment does not publish")
            shelve_due(connection)
            found = waiting(connection, lease=timedelta(seconds=settings.minitik_lease_seconds))
            recently = _asked_recently(connection, context.cursor)
    except DBAPIError as error:
        return SkipReason(f"PostgreSQL does not answer ({type(error.orig).__name__})")
    return decide(found, asked_recently=recently, tick=f"{time.time():.0f}")


def _asked_recently(connection: Connection, cursor: str | None) -> bool:
    """Whether a run was asked for that may still be starting; one that came and went is not."""
    asked = float(cursor or 0)
    if time.time() - asked >= _STARTING_SECONDS:
        return False
    return not came_and_went(connection, datetime.fromtimestamp(asked, UTC))

"""The sensor `resident_windows`: shows what resident dispatchers did, window by window."""

import json

from dagster import (
    AssetMaterialization,
    DefaultSensorStatus,
    MetadataValue,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from sqlalchemy.exc import DBAPIError

from minitik_dagster.assets.publications import PUBLICATIONS_KEY, window_metadata
from minitik_dagster.db.instance import not_ours
from minitik_dagster.publishing.tally import Failure, failures_table
from minitik_dagster.publishing.windows import Window, unshown
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.settings import load_settings

_MOST_PER_TICK = 20


def materialization(window: Window) -> AssetMaterialization:
    """Turn a window into an event of `publications`, as a dispatcher's run reports its own."""
    failures = [Failure(**item) for item in window.summary["failures"]]
    metadata = window_metadata(dict(window.summary), failures_table(failures))
    return AssetMaterialization(
        PUBLICATIONS_KEY,
        metadata={
            **metadata,
            "dispatcher": MetadataValue.text(window.dispatcher),
            "window": MetadataValue.text(f"{window.started_at} to {window.ended_at}"),
            "killed": MetadataValue.bool(window.killed),
        },
    )


@sensor(
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Shows resident dispatchers' windows as materializations of `publications`.",
)
def resident_windows(
    context: SensorEvaluationContext, database: DatabaseResource
) -> SensorResult | SkipReason:
    """Report what is new; the cursor names what the last tick reported, which is marked now.

    Marked only when Dagster has stored the tick: a window is shown at least once.
    """
    shown = json.loads(context.cursor) if context.cursor else []
    try:
        with database.connect() as connection:
            idle = not_ours(connection, load_settings())
            if idle is not None:
                return SkipReason(f"{idle}: another deployment shows them")
            windows = unshown(connection, shown=shown, limit=_MOST_PER_TICK)
    except DBAPIError as error:
        return SkipReason(f"PostgreSQL does not answer ({type(error.orig).__name__})")
    if not windows and not shown:
        return SkipReason("no resident dispatcher has ended a window")
    return SensorResult(
        asset_events=[materialization(window) for window in windows],
        cursor=json.dumps([window.id for window in windows]),
    )

"""The asset `youtube_daily_reports`: channels' true history, by Pacific day."""

import asyncio
from datetime import UTC, date, datetime
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetKey,
    BackfillPolicy,
    DailyPartitionsDefinition,
    MetadataValue,
    Output,
    asset,
)

from minitik_dagster.analytics.names import YOUTUBE_DAILY
from minitik_dagster.assets.metrics import DAILY_FRESHNESS
from minitik_dagster.resources.analytics import COLLECTION
from minitik_dagster.resources.settings import SettingsResource

YOUTUBE_REPORTS_KEY = AssetKey("youtube_daily_reports")
# No channel is older than YouTube's first video.
PACIFIC_DAYS = DailyPartitionsDefinition(start_date="2005-04-23", timezone="America/Los_Angeles")


@asset(
    key=YOUTUBE_REPORTS_KEY,
    partitions_def=PACIFIC_DAYS,
    # One run, one call per channel, however many days.
    backfill_policy=BackfillPolicy.single_run(),
    deps=[AssetKey("publications")],
    io_manager_key="rollups",
    group_name="analytics",
    kinds={"mongodb", "python"},
    owners=["team:analytics"],
    op_tags={"minitik/kind": "analytics"},
    metadata={COLLECTION: YOUTUBE_DAILY},
    freshness_policy=DAILY_FRESHNESS,
    description=(
        "YouTube's own reports of each connected channel, by Pacific day, from its first day on: a "
        "backfill is one call per channel. Data lag by 48 to 72 hours; a day without data has no "
        "document, and the last days are read again. A channel that cannot be read keeps what it had."
    ),
)
def youtube_daily_reports(
    context: AssetExecutionContext, settings: SettingsResource
) -> Output[Any]:
    """Read the run's days."""
    from minitik_dagster.analytics.reading import snapshots_of
    from minitik_dagster.analytics.rollup import Rollup
    from minitik_dagster.analytics.youtube_reports import ReportsRun, read_reports
    from minitik_dagster.logs import configure_logging

    environment = settings.load()
    configure_logging(environment)
    days = sorted(date.fromisoformat(key) for key in context.partition_keys)

    async def work() -> ReportsRun:
        async with snapshots_of(environment) as snapshots:
            return await read_reports(snapshots, days[0], days[-1])

    run = asyncio.run(work())
    parts = [(f"{day:%Y-%m-%d}", run.documents[day]) for day in days]
    return Output(
        Rollup(parts, datetime.now(UTC)),
        metadata={
            **{name: MetadataValue.int(count) for name, count in run.counts().items()},
            "outcomes": MetadataValue.json(dict(sorted(run.outcomes.items()))),
            "bad_accounts": MetadataValue.json(run.bad_accounts),
        },
    )

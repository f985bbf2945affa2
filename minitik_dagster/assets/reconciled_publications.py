"""The asset `reconciled_publications`: each UTC day's posts, as the platforms tell them.

A partition is the day of `dueAt`. Materializing one asks the platforms about what is not settled and
repairs the rows; it never publishes, so any run and any backfill is safe, and a second one changes
nothing.
"""

import asyncio
from collections.abc import Mapping
from datetime import date
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetKey,
    BackfillPolicy,
    DailyPartitionsDefinition,
    MaterializeResult,
    MetadataValue,
    asset,
)

from minitik_dagster.resources.settings import SettingsResource

RECONCILED_KEY = AssetKey("reconciled_publications")
# end_offset: today has a partition too (engine.md measured that it has none otherwise).
DAYS = DailyPartitionsDefinition(start_date="2024-01-01", timezone="UTC", end_offset=1)
# One run asks about a month: a run's start costs more than a quiet day's questions.
_DAYS_PER_RUN = 31


@asset(
    key=RECONCILED_KEY,
    partitions_def=DAYS,
    backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=_DAYS_PER_RUN),
    deps=[AssetKey("publications")],
    group_name="publishing",
    kinds={"postgres", "python"},
    owners=["team:publishing"],
    op_tags={"minitik/kind": "reconcile"},
    description=(
        "What the platforms say of a day's posts that are not settled: unknown, confirming, in "
        "review, live without an id, or failed although a commit may have been sent. Repairs the "
        "rows under leases and never publishes. Metadata: counts and the differences."
    ),
)
def reconciled_publications(
    context: AssetExecutionContext, settings: SettingsResource
) -> MaterializeResult[Any]:
    """Reconcile the run's days."""
    # Lazy: definitions load fast, and only this op needs the engine.
    from minitik_dagster.logs import configure_logging
    from minitik_dagster.publishing.day_reconciler import DayScope, reconcile

    environment = settings.load()
    configure_logging(environment)
    days = sorted(date.fromisoformat(key) for key in context.partition_keys)
    report = asyncio.run(reconcile(environment, DayScope.days(days[0], days[-1])))
    return MaterializeResult(metadata=_metadata(report.metadata(), days))


def _metadata(found: Mapping[str, Any], days: list[date]) -> dict[str, MetadataValue[Any]]:
    metadata: dict[str, MetadataValue[Any]] = {
        name: MetadataValue.int(found[name]) for name in ("asked", "repaired", "busy", "unanswered")
    }
    metadata["days"] = MetadataValue.text(f"{days[0]} to {days[-1]}")
    metadata["open"] = MetadataValue.json(found["open"])
    metadata["differences"] = MetadataValue.md(found["differences"])
    return metadata

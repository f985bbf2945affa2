"""The asset `lateness`: how late each UTC day's posts were sent, by platform; and its objective as a check."""

from datetime import date
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    AssetKey,
    BackfillPolicy,
    DailyPartitionsDefinition,
    MaterializeResult,
    MetadataValue,
    asset,
    asset_check,
)

from minitik_dagster.resources.database import DatabaseResource

LATENESS_KEY = AssetKey("lateness")
# end_offset: today can be measured too, as far as it has come.
DAYS = DailyPartitionsDefinition(start_date="2024-01-01", timezone="UTC", end_offset=1)
_CHECKED_DAYS = 2


@asset(
    key=LATENESS_KEY,
    partitions_def=DAYS,
    backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=31),
    deps=[AssetKey("publications")],
    group_name="publishing",
    kinds={"postgres", "python"},
    owners=["team:publishing"],
    op_tags={"minitik/kind": "lateness"},
    description=(
        "How late each UTC day's posts were sent, by platform: count, p50, p99, the share within the "
        "objective, and what was missed. Measured anew from the publications into the table "
        "lateness_days: safe at any time, for any day."
    ),
)
def lateness(context: AssetExecutionContext, database: DatabaseResource) -> MaterializeResult[Any]:
    """Measure the run's days."""
    from minitik_dagster.operations import lateness as domain

    found: list[domain.Day] = []
    for key in sorted(context.partition_keys, reverse=True):
        with database.connect() as connection:
            found += domain.measure(connection, date.fromisoformat(key))
    return MaterializeResult(
        metadata={
            "posts": MetadataValue.int(sum(one.posts for one in found)),
            "missed": MetadataValue.int(sum(one.missed for one in found)),
            "late": MetadataValue.int(sum(one.posts - one.within for one in found)),
            "days": MetadataValue.md(domain.as_table(found)),
        }
    )


@asset_check(
    asset=LATENESS_KEY,
    name="posts_are_on_time",
    description=(
        "Of a hundred posts ninety-nine were sent within a second of their instant, yesterday and today, "
        "on each platform. Metadata: the figures and the posts beyond it."
    ),
)
def posts_are_on_time(database: DatabaseResource) -> AssetCheckResult:
    """Judge what was measured of the last two days, with its evidence."""
    from minitik_dagster.operations import lateness as domain

    with database.connect() as connection:
        since = domain.days_back(connection, _CHECKED_DAYS - 1)
        days = domain.read(connection, since)
        missed = [one for one in days if not one.is_kept]
        late = [
            post
            for day in sorted({one.day for one in missed}, reverse=True)
            for post in domain.worst(connection, day)
        ]
    return AssetCheckResult(
        passed=not missed,
        severity=AssetCheckSeverity.WARN,
        metadata={
            "objective": MetadataValue.text(
                f"{domain.OBJECTIVE_SHARE:.0%} within {domain.OBJECTIVE.total_seconds():g} s"
            ),
            "days": MetadataValue.md(domain.as_table(days)),
            "not_kept": MetadataValue.json([f"{one.day} {one.platform}" for one in missed]),
            "late": MetadataValue.json(
                [{"id": one.id, "platform": one.platform, "ms": one.late_ms} for one in late]
            ),
        },
    )

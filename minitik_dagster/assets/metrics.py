"""The assets of analytics: readings by the hour, increases by the day, what posts and accounts come to.

Lineage: publications -> metric_snapshots -> daily_metrics -> content_performance -> account_performance.
The rules are analytics/'s.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from dagster import (
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    BackfillPolicy,
    DailyPartitionsDefinition,
    FreshnessPolicy,
    HourlyPartitionsDefinition,
    MaterializeResult,
    MetadataValue,
    Output,
    TimeWindowPartitionMapping,
    asset,
)

from minitik_dagster.analytics.names import (
    ACCOUNT_PERFORMANCE,
    CONTENT_PERFORMANCE,
    DAILY,
    READINGS,
)
from minitik_dagster.resources.analytics import COLLECTION, MongoResource
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.settings import SettingsResource

METRIC_SNAPSHOTS_KEY = AssetKey("metric_snapshots")
# end_offset: this hour and today have a partition too; by default only what has ended has one.
HOURS = HourlyPartitionsDefinition(start_date="2024-01-01-00:00", timezone="UTC", end_offset=1)
DAYS = DailyPartitionsDefinition(start_date="2024-01-01", timezone="UTC", end_offset=1)
_OWNERS = ["team:analytics"]
DAYS_PER_RUN = 31
_HOURS_PER_RUN = 7 * 24
_HOURLY = FreshnessPolicy.time_window(
    fail_window=timedelta(hours=3), warn_window=timedelta(hours=1, minutes=30)
)
DAILY_FRESHNESS = FreshnessPolicy.time_window(
    fail_window=timedelta(hours=50), warn_window=timedelta(hours=30)
)
PAST = (
    "the hour is past: the next readings of its posts are due already, and no platform tells what a "
    "counter was; it is not filled with later numbers"
)
EXPIRED = "readings of this day have expired: its rollup is kept as it is"


@asset(
    key=METRIC_SNAPSHOTS_KEY,
    partitions_def=HOURS,
    deps=[AssetKey("publications")],
    # Hours that can be had no more are a question each: a backfill over them is no process each.
    backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=_HOURS_PER_RUN),
    output_required=False,
    io_manager_key="readings",
    group_name="analytics",
    kinds={"mongodb", "python"},
    owners=_OWNERS,
    op_tags={"minitik/kind": "analytics"},
    metadata={COLLECTION: READINGS},
    freshness_policy=_HOURLY,
    description=(
        "The readings of posts' counters that fell due at the hour, by the age ladder. Inserts what is "
        "missing and rewrites nothing, so any run is safe. A past hour is skipped with the reason: its "
        "numbers cannot be had any more. Metadata: counts, calls against the ideal, bad accounts."
    ),
)
def metric_snapshots(
    context: AssetExecutionContext, settings: SettingsResource
) -> Iterator[MaterializeResult[Any]]:
    """Read what is due at the run's hours and not there yet."""
    # Lazy: definitions load fast, and only this op needs the platforms' clients.
    from minitik_dagster.analytics.reading import read_hours
    from minitik_dagster.logs import configure_logging

    environment = settings.load()
    configure_logging(environment)
    keys = {_slot_of(key): key for key in context.partition_keys}
    for slot, report in asyncio.run(read_hours(environment, list(keys))).items():
        key = keys[slot]
        metadata: dict[str, MetadataValue[Any]] = {
            **{name: MetadataValue.int(count) for name, count in report.counts().items()},
            "outcomes": MetadataValue.json(dict(sorted(report.outcomes.items()))),
            "bad_accounts": MetadataValue.json(report.bad_accounts),
        }
        if report.is_past:
            context.log.warning("%s skipped: %d missed for ever; %s", key, report.missed, PAST)
            metadata["skipped"] = MetadataValue.text(PAST)
            context.log_event(
                AssetObservation(METRIC_SNAPSHOTS_KEY, partition=key, metadata=metadata)
            )
            continue
        if report.missed:
            context.log.warning("%s: %d readings are missed for ever", key, report.missed)
        if len(keys) == 1:
            yield MaterializeResult(metadata=metadata)
        else:
            # An output of the run would stand for every hour of it, the skipped ones as well.
            context.log_event(
                AssetMaterialization(METRIC_SNAPSHOTS_KEY, partition=key, metadata=metadata)
            )


def _slot_of(key: str) -> datetime:
    return datetime.strptime(key, HOURS.fmt).replace(tzinfo=UTC)


@asset(
    partitions_def=DAYS,
    deps=[AssetDep(METRIC_SNAPSHOTS_KEY, partition_mapping=TimeWindowPartitionMapping())],
    backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=DAYS_PER_RUN),
    output_required=False,
    io_manager_key="rollups",
    group_name="analytics",
    kinds={"mongodb", "python"},
    owners=_OWNERS,
    op_tags={"minitik/kind": "analytics"},
    metadata={COLLECTION: DAILY},
    freshness_policy=_HOURLY,
    description=(
        "Each UTC day's increases of every post's counters, signed, with the closing counter, a document "
        "per account. Replaced whole, from the readings alone: safe at any time and in any order. A day "
        "whose readings have begun to expire is never rewritten: skipped with the reason."
    ),
)
def daily_metrics(
    context: AssetExecutionContext, database: DatabaseResource, mongo: MongoResource
) -> Iterator[Output[Any]]:
    """Roll up the run's days."""
    from minitik_dagster.analytics.digest import is_news, tell_day
    from minitik_dagster.analytics.live_posts import database_now
    from minitik_dagster.analytics.rollup import daily_rollup, day_documents, is_frozen

    with database.connect() as connection:
        now = database_now(connection)
    days = {key: date.fromisoformat(key) for key in context.partition_keys}
    frozen = [key for key, day in days.items() if is_frozen(day, now)]
    for key in frozen:
        context.log.warning("%s skipped: %s", key, EXPIRED)
        with mongo.store() as store:
            store.settle_late_day(key, before=now)

    def parts() -> Iterator[tuple[str, list[dict[str, Any]]]]:
        # One day at a time: a run over a month holds no month of documents.
        for key in sorted(days.keys() - set(frozen)):
            with database.connect() as connection, mongo.store() as store:
                documents = day_documents(store, connection, days[key], now=now)
                if is_news(days[key], now):
                    told = tell_day(connection, days[key], documents)
                    context.log.info("%s: %d people are told what it brought", key, told)
                yield key, documents

    skipped = {"skipped": MetadataValue.text(EXPIRED)}
    if len(frozen) < len(days):
        for key in frozen:
            context.add_asset_metadata(skipped, partition_key=key)
        yield Output(daily_rollup(parts(), now))
        return
    for key in frozen:
        context.log_event(AssetObservation(context.asset_key, partition=key, metadata=skipped))


@asset(
    deps=[daily_metrics],
    io_manager_key="rollups",
    group_name="analytics",
    kinds={"mongodb", "postgres", "python"},
    owners=_OWNERS,
    op_tags={"minitik/kind": "analytics"},
    metadata={COLLECTION: CONTENT_PERFORMANCE},
    freshness_policy=_HOURLY,
    description=(
        "What each post has come to: latest totals, growth over 1, 7 and 30 UTC days. Also written into "
        "publications.metrics. Safe at any time."
    ),
)
def content_performance(
    context: AssetExecutionContext, database: DatabaseResource, mongo: MongoResource
) -> Any:
    """Put together the posts of every account with a reading in the last 30 days."""
    from minitik_dagster.analytics.performance import content_documents, save_metrics
    from minitik_dagster.analytics.rollup import Rollup

    now = datetime.now(UTC)
    changed = 0

    def parts() -> Iterator[tuple[str, list[dict[str, Any]]]]:
        nonlocal changed
        with mongo.store() as store:
            for account_id, posts in content_documents(store, now.date()):
                with database.connect() as connection:
                    changed += save_metrics(connection, posts)
                yield account_id, posts
        context.log.info("publications.metrics: %d rows changed", changed)

    return Rollup(parts(), now)


@asset(
    deps=[content_performance],
    io_manager_key="rollups",
    group_name="analytics",
    kinds={"mongodb", "python"},
    owners=_OWNERS,
    op_tags={"minitik/kind": "analytics"},
    metadata={COLLECTION: ACCOUNT_PERFORMANCE},
    freshness_policy=_HOURLY,
    description="What each account has come to: the sums of what is known of its posts, and growth.",
)
def account_performance(mongo: MongoResource) -> Any:
    """Add up content_performance by account."""
    from minitik_dagster.analytics.performance import account_documents
    from minitik_dagster.analytics.rollup import Rollup

    def parts() -> Iterator[tuple[str, list[dict[str, Any]]]]:
        with mongo.store() as store:
            yield from account_documents(store)

    return Rollup(parts(), datetime.now(UTC))

"""The asset `exports`: each day's increases as a parquet file, for those who work with tables."""

from typing import Any

from dagster import AssetExecutionContext, BackfillPolicy, asset

from minitik_dagster.assets.metrics import DAILY_FRESHNESS, DAYS, DAYS_PER_RUN


@asset(
    partitions_def=DAYS,
    backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=DAYS_PER_RUN),
    io_manager_key="lake",
    group_name="analytics",
    kinds={"s3", "parquet", "python"},
    owners=["team:analytics"],
    op_tags={"minitik/kind": "analytics"},
    freshness_policy=DAILY_FRESHNESS,
    description=(
        "A day's increases and closing counters as one parquet file in the bucket, a row per post: "
        "exports/lake/exports/day=YYYY-MM-DD/exports.parquet. null = not known. Ids only, no texts. "
        "People's own exports (CSV, JSON) are ordered over the API."
    ),
)
def exports(context: AssetExecutionContext, daily_metrics: list[dict[str, Any]]) -> Any:
    """Turn each day's rollup into a table."""
    # Lazy: definitions load fast, and only this op needs it.
    import pyarrow as pa

    from minitik_dagster.analytics.lake import TEXTS, lake_rows
    from minitik_dagster.analytics.metrics import NAMES

    fields = [("day", pa.date32()), *((name, pa.string()) for name in TEXTS)]
    fields += [("captured_at", pa.timestamp("ms", tz="UTC")), ("readings", pa.int32())]
    for name in NAMES:
        fields += [
            (f"{name}_increase", pa.int64()),
            (f"{name}_total", pa.int64()),
            (f"{name}_span_days", pa.int32()),
        ]
    schema = pa.schema(fields)
    by_day: dict[str, list[dict[str, Any]]] = {key: [] for key in context.partition_keys}
    for row in lake_rows(daily_metrics):
        by_day[f"{row['day']:%Y-%m-%d}"].append(row)
    tables = {key: pa.Table.from_pylist(rows, schema=schema) for key, rows in by_day.items()}
    context.log.info("%d posts in %d days", sum(map(len, by_day.values())), len(tables))
    return tables

"""Checks on the asset `metric_snapshots`: one step reads once and asks four questions.

The questions are analytics/health.py's; here they get a severity and become visible in the UI.
"""

from collections.abc import Iterator

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    MetadataValue,
    multi_asset_check,
)

from minitik_dagster.analytics import health
from minitik_dagster.analytics.live_posts import database_now
from minitik_dagster.assets.metrics import METRIC_SNAPSHOTS_KEY
from minitik_dagster.resources.analytics import MongoResource
from minitik_dagster.resources.database import DatabaseResource


@multi_asset_check(
    name="metric_checks",
    specs=[
        AssetCheckSpec(name, asset=METRIC_SNAPSHOTS_KEY, description=description)
        for name, (description, _, _) in health.QUESTIONS.items()
    ],
    op_tags={"minitik/kind": "check"},
)
def metric_checks(database: DatabaseResource, mongo: MongoResource) -> Iterator[AssetCheckResult]:
    """Ask each question once."""
    with database.connect() as connection, mongo.store() as store:
        answers, posts = health.ask_all(store, connection, database_now(connection))
        for name, (_, _, is_error) in health.QUESTIONS.items():
            found = answers[name]
            yield AssetCheckResult(
                asset_key=METRIC_SNAPSHOTS_KEY,
                check_name=name,
                passed=not found.total,
                severity=AssetCheckSeverity.ERROR if is_error else AssetCheckSeverity.WARN,
                metadata={
                    "found": MetadataValue.int(found.total),
                    "posts_looked_at": MetadataValue.int(posts),
                    "by_class": MetadataValue.json(dict(found.by_class)),
                    "ids": MetadataValue.md("\n".join(f"- {one}" for one in found.ids) or "None."),
                },
            )

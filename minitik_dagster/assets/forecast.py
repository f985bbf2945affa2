"""The asset `forecast`: what is due within a day and will not make it; and its check."""

from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetKey,
    MaterializeResult,
    MetadataValue,
    asset,
    asset_check,
)

from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.settings import SettingsResource

FORECAST_KEY = AssetKey("forecast")


@asset(
    key=FORECAST_KEY,
    deps=[AssetKey("publications")],
    group_name="publishing",
    kinds={"postgres", "python"},
    owners=["team:publishing"],
    op_tags={"minitik/kind": "forecast"},
    description=(
        "Looks ahead at everything due within 24 hours: content, file, the platform's rules and word, "
        "account, permissions, token, budgets, breakers, pauses. Publishes nothing; tells owners once."
    ),
)
def forecast(settings: SettingsResource, database: DatabaseResource) -> MaterializeResult[Any]:
    """Look ahead, tell owners, and show what was found."""
    # Lazy: definitions load fast, and only this op needs the platforms' clients.
    from minitik_dagster.logs import configure_logging
    from minitik_dagster.operations import forecast as domain
    from minitik_dagster.operations.forecast_notices import tell

    environment = settings.load()
    configure_logging(environment)
    with database.connect() as connection:
        engine = connection.engine
    found = domain.forecast(engine, environment)
    with database.connect() as connection:
        told = tell(connection, found)
    return MaterializeResult(
        metadata={
            "checked": MetadataValue.int(found.checked),
            "failing": MetadataValue.int(len(found.failing)),
            "not_asked": MetadataValue.int(found.not_asked),
            "told": MetadataValue.int(told),
            "by_code": MetadataValue.json(found.counts()),
            "risks": MetadataValue.md(found.table()),
        },
    )


@asset_check(
    asset=FORECAST_KEY,
    name="everything_due_will_go_out",
    description="No post of the next 24 hours is certain to fail or to be too late, by the last forecast.",
)
def everything_due_will_go_out(database: DatabaseResource) -> AssetCheckResult:
    """Read what the last forecast kept."""
    from minitik_dagster.operations.forecast_notices import last

    with database.connect() as connection:
        kept = last(connection)
    return AssetCheckResult(
        passed=not kept.publications,
        severity=AssetCheckSeverity.WARN,
        metadata={
            "checked": MetadataValue.int(kept.checked),
            "publications": MetadataValue.json(list(kept.publications)),
        },
    )

"""The asset `account_health`: what the platforms say of the connected accounts, once a day; and its checks.

Materializing it asks about the accounts that are due; a second run finds nothing to do. The decisions are
accounts/probing.py's and accounts/probe_health.py's.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetKey,
    MaterializeResult,
    MetadataValue,
    asset,
    multi_asset_check,
)

from minitik_dagster.accounts import probe_health
from minitik_dagster.assets.questions import Question, ask_all, specs_of
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.settings import SettingsResource

ACCOUNT_HEALTH_KEY = AssetKey("account_health")

_QUESTIONS = {
    "accounts_probed_daily": Question(
        "Every connected account's platform has told within a day (and two hours) who we are to it.",
        probe_health.unprobed,
        AssetCheckSeverity.ERROR,
    ),
    "no_account_out_of_order": Question(
        "No account's last probe found access withdrawn, a permission gone or somebody else's account.",
        probe_health.out_of_order,
        AssetCheckSeverity.WARN,
    ),
}


@asset(
    key=ACCOUNT_HEALTH_KEY,
    group_name="accounts",
    kinds={"postgres", "python"},
    owners=["team:publishing"],
    op_tags={"minitik/kind": "probe"},
    description=(
        "Asks the platforms who we are to each account, once a day, spread over the hours: withdrawn "
        "access is found, and its owner told, before a slot. Safe at any time. Metadata: counts and a "
        "table by account."
    ),
)
def account_health(
    settings: SettingsResource, database: DatabaseResource
) -> MaterializeResult[Any]:
    """Probe what is due, and show how every account stands."""
    # Lazy: definitions load fast, and only this op needs the platforms' clients.
    from minitik_dagster.accounts.probe_due import probe_due
    from minitik_dagster.logs import configure_logging

    environment = settings.load()
    configure_logging(environment)
    report = asyncio.run(probe_due(environment))
    with database.connect() as connection:
        table = probe_health.probe_table(connection)
    return MaterializeResult(
        metadata={
            **{name: MetadataValue.int(count) for name, count in report.counts().items()},
            "most_in_flight": MetadataValue.int(report.most_in_flight),
            "outcomes": MetadataValue.json(dict(sorted(report.outcomes.items()))),
            "accounts": MetadataValue.md(table),
        }
    )


@multi_asset_check(
    name="account_health_checks",
    specs=specs_of(ACCOUNT_HEALTH_KEY, _QUESTIONS),
    op_tags={"minitik/kind": "check"},
)
def account_health_checks(database: DatabaseResource) -> Iterator[AssetCheckResult]:
    """Ask each question once."""
    with database.connect() as connection:
        yield from ask_all(connection, ACCOUNT_HEALTH_KEY, _QUESTIONS, counted="accounts")

"""The asset `account_tokens`: the connected accounts' tokens, renewed in time; and its checks.

Materializing it refreshes what is due; a second run finds nothing to do. The decisions are
accounts/refresh_due.py's and accounts/token_health.py's.
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

from minitik_dagster.accounts import token_health
from minitik_dagster.assets.questions import Question, ask_all, specs_of
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.settings import SettingsResource

ACCOUNT_TOKENS_KEY = AssetKey("account_tokens")

_QUESTIONS = {
    "tokens_reach_next_post": Question(
        "Every connected account's token, or what renews it, lives until its next post.",
        token_health.outlived,
        AssetCheckSeverity.ERROR,
    ),
    "no_connection_ends_soon": Question(
        "No connected account must be connected anew within 14 days (notices: 14, 7, 1 days).",
        token_health.ending,
        AssetCheckSeverity.WARN,
    ),
    "no_refresh_cut_off": Question(
        "No refresh began and never ended; the next one shows whether the tokens were lost.",
        token_health.cut_off,
        AssetCheckSeverity.WARN,
    ),
}


@asset(
    key=ACCOUNT_TOKENS_KEY,
    group_name="accounts",
    kinds={"postgres", "python"},
    owners=["team:publishing"],
    op_tags={"minitik/kind": "refresh"},
    description=(
        "Renews the tokens that end within 30 minutes, or before the end of a scheduled post, and "
        "Instagram's at half of their life. Safe at any time. Metadata: counts and a table by account."
    ),
)
def account_tokens(
    settings: SettingsResource, database: DatabaseResource
) -> MaterializeResult[Any]:
    """Refresh what is due, tell owners what ends soon, and show how every account stands."""
    # Lazy: definitions load fast, and only this op needs the platforms' clients.
    from minitik_dagster.accounts.refresh_due import refresh_due
    from minitik_dagster.logs import configure_logging

    environment = settings.load()
    configure_logging(environment)
    report = asyncio.run(refresh_due(environment))
    with database.connect() as connection:
        told = token_health.tell_who_expires_soon(connection)
        table = token_health.token_table(connection)
    return MaterializeResult(
        metadata={
            **{name: MetadataValue.int(count) for name, count in report.counts().items()},
            "most_in_flight": MetadataValue.int(report.most_in_flight),
            "outcomes": MetadataValue.json(dict(sorted(report.outcomes.items()))),
            "notices": MetadataValue.int(told),
            "accounts": MetadataValue.md(table),
        }
    )


@multi_asset_check(
    name="account_token_checks",
    specs=specs_of(ACCOUNT_TOKENS_KEY, _QUESTIONS),
    op_tags={"minitik/kind": "check"},
)
def account_token_checks(database: DatabaseResource) -> Iterator[AssetCheckResult]:
    """Ask each question once."""
    with database.connect() as connection:
        yield from ask_all(connection, ACCOUNT_TOKENS_KEY, _QUESTIONS, counted="accounts")

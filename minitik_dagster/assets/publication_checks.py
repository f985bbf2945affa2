"""Checks on the asset `publications`: one step asks four questions, as each run's start costs.

The questions are publishing/health.py's; here they get a severity and become visible in the UI.
"""

from collections.abc import Iterator

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    multi_asset_check,
)

from minitik_dagster.assets.publications import PUBLICATIONS_KEY
from minitik_dagster.assets.questions import Question, ask_all, specs_of
from minitik_dagster.publishing import health
from minitik_dagster.resources.database import DatabaseResource

_QUESTIONS = {
    "nothing_overdue": Question(
        "Nothing that was due more than 5 minutes ago is still unsent without a reason.",
        health.overdue,
        AssetCheckSeverity.ERROR,
    ),
    "no_double_post": Question(
        "No publication has more than one success: commits, committed handles, public ids.",
        health.double_posts,
        AssetCheckSeverity.ERROR,
    ),
    "nothing_unknown": Question(
        "No commit's outcome has been unknown for more than an hour.",
        health.unknown_long,
        AssetCheckSeverity.WARN,
    ),
    "nothing_stuck": Question(
        "No lease ended more than 5 minutes ago untaken, no preparation takes more than 2 hours.",
        health.stuck,
        AssetCheckSeverity.WARN,
    ),
}


@multi_asset_check(
    name="publication_checks",
    specs=specs_of(PUBLICATIONS_KEY, _QUESTIONS),
    op_tags={"minitik/kind": "check"},
)
def publication_checks(database: DatabaseResource) -> Iterator[AssetCheckResult]:
    """Ask each question once."""
    with database.connect() as connection:
        yield from ask_all(connection, PUBLICATIONS_KEY, _QUESTIONS, counted="publications")

"""Checks on the asset `publications`: one step asks four questions, as each run's start costs.

The questions are publishing/health.py's; here they get a severity and become visible in the UI.
"""

from collections.abc import Callable, Iterator

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    MetadataValue,
    multi_asset_check,
)
from sqlalchemy import Connection

from minitik_dagster.assets.publications import PUBLICATIONS_KEY
from minitik_dagster.publishing import health
from minitik_dagster.resources.database import DatabaseResource

_QUESTIONS: dict[str, tuple[str, Callable[[Connection], health.Found], AssetCheckSeverity]] = {
    "nothing_overdue": (
        "Nothing that was due more than 5 minutes ago is still unsent without a reason.",
        health.overdue,
        AssetCheckSeverity.ERROR,
    ),
    "no_double_post": (
        "No publication has more than one success: commits, committed handles, public ids.",
        health.double_posts,
        AssetCheckSeverity.ERROR,
    ),
    "nothing_unknown": (
        "No commit's outcome has been unknown for more than an hour.",
        health.unknown_long,
        AssetCheckSeverity.WARN,
    ),
    "nothing_stuck": (
        "No lease ended more than 5 minutes ago untaken, no preparation takes more than 2 hours.",
        health.stuck,
        AssetCheckSeverity.WARN,
    ),
}


@multi_asset_check(
    name="publication_checks",
    specs=[
        AssetCheckSpec(name, asset=PUBLICATIONS_KEY, description=description)
        for name, (description, _, _) in _QUESTIONS.items()
    ],
    op_tags={"minitik/kind": "check"},
)
def publication_checks(database: DatabaseResource) -> Iterator[AssetCheckResult]:
    """Ask each question once."""
    with database.connect() as connection:
        for name, (_, ask, severity) in _QUESTIONS.items():
            found = ask(connection)
            yield AssetCheckResult(
                asset_key=PUBLICATIONS_KEY,
                check_name=name,
                passed=not found,
                severity=severity,
                metadata={
                    "publications": MetadataValue.int(found.total),
                    "ids": MetadataValue.md(_list(found)),
                },
            )


def _list(found: health.Found) -> str:
    if not found:
        return "None."
    shown = "\n".join(f"- {publication_id}" for publication_id in found.ids)
    rest = found.total - len(found.ids)
    return shown + (f"\n\n{rest} more." if rest else "")

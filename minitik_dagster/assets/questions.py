"""A domain's questions of health as checks on an asset: one step asks them all, as a run's start costs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, AssetKey, MetadataValue
from sqlalchemy import Connection

from minitik_dagster.db.found import Found


@dataclass(frozen=True)
class Question:
    """One check: what holds when it passes, how it is asked, and how grave it is when it does not."""

    description: str
    ask: Callable[[Connection], Found]
    severity: AssetCheckSeverity


def specs_of(asset: AssetKey, questions: Mapping[str, Question]) -> list[AssetCheckSpec]:
    """Return the specification of each question's check, by its name."""
    return [
        AssetCheckSpec(name, asset=asset, description=question.description)
        for name, question in questions.items()
    ]


def ask_all(
    connection: Connection, asset: AssetKey, questions: Mapping[str, Question], *, counted: str
) -> Iterator[AssetCheckResult]:
    """Ask each question once; `counted` names what it counts, as metadata beside the ids."""
    for name, question in questions.items():
        found = question.ask(connection)
        yield AssetCheckResult(
            asset_key=asset,
            check_name=name,
            passed=not found,
            severity=question.severity,
            metadata={
                counted: MetadataValue.int(found.total),
                "ids": MetadataValue.md(_list(found)),
            },
        )


def _list(found: Found) -> str:
    if not found:
        return "None."
    shown = "\n".join(f"- {one}" for one in found.ids)
    rest = found.total - len(found.ids)
    return shown + (f"\n\n{rest} more." if rest else "")

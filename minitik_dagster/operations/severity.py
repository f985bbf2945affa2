"""How severe an incident is, proposed from the facts: the old runbook's table of levels as rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from minitik_dagster.operations.findings import Finding, Level

RESPONSE: Final[Mapping[str, tuple[str, str]]] = {
    "P1": ("Full outage", "immediate"),
    "P2": ("Partial outage", "< 1 hour"),
    "P3": ("Degraded", "< 4 hours"),
    "P4": ("Minor", "next business day"),
    "none": ("Nothing found", "-"),
}
# A red finding of these means that nobody can work: the database is down, or nothing is published.
_FULL: Final = frozenset(
    {"variables", "variable DATABASE_URL", "variable ENCRYPTION_KEY", "postgresql", "schema"}
    | {"world", "instance", "database rights", "stored tokens", "dispatchers", "clock"}
)
# A yellow finding of these slows publishing or a part of it.
_DEGRADED: Final = (
    "connections",
    "transactions",
    "queries",
    "stuck posts",
    "unknown commits",
    "redis",
)
_PLATFORMS: Final = 3


@dataclass(frozen=True)
class Severity:
    """A level of the runbook, what it means, how soon somebody must respond, and why it is proposed."""

    level: str
    meaning: str
    response: str
    reasons: tuple[str, ...]


def propose(findings: Sequence[Finding], alerts: Sequence[Mapping[str, Any]]) -> Severity:
    """Propose the level: the worst that a finding or an open alert calls for."""
    found: list[tuple[str, str]] = []
    opened = [item for item in findings if item.check.startswith("breaker ")]
    for item in findings:
        text = f"{item.check}: {item.detail}"
        if item.level is Level.RED:
            found.append(("P1" if item.check in _FULL else "P2", text))
        elif item.level is Level.YELLOW and item in opened:
            found.append(("P2", text))
        elif item.level is Level.YELLOW:
            found.append(("P3" if item.check in _DEGRADED else "P4", text))
    if len(opened) == _PLATFORMS:
        found.append(("P1", "the breakers of all platforms are open: nothing is published"))
    for alert in alerts:
        level = "P2" if alert["level"] == "critical" else "P3"
        found.append((level, f"alert {alert['key']}: {alert['message']}"))
    level = min((name for name, _ in found), default="none")
    meaning, response = RESPONSE[level]
    reasons = tuple(text for name, text in found if name == level)
    return Severity(level, meaning, response, reasons)


@dataclass(frozen=True)
class Step:
    """One step of the runbook's playbook; `done` None where only a person can tell."""

    text: str
    done: bool | None
    found: str


def playbook(level: str, findings: Sequence[Finding], breakers: Sequence[str]) -> list[Step]:
    """Return the steps of the level's playbook with what could be checked; P3 and P4 have none."""
    by_check = {item.check: item for item in findings}

    def told(*checks: str) -> tuple[bool, str]:
        looked = [by_check[name] for name in checks if name in by_check]
        bad = [
            f"{item.check} {item.level.value}" for item in looked if item.level is not Level.GREEN
        ]
        return bool(looked), ", ".join(bad) or "all green"

    stores = told("postgresql", "redis", "mongodb", "s3")
    version = told("schema", "variables")
    open_ones = ", ".join(breakers) or "none open"
    if level == "P1":
        return [
            Step("Is the latest deployment healthy? (program, schema, variables)", *version),
            Step("Are PostgreSQL, Redis, MongoDB and S3 reachable?", *stores),
            Step(
                "A bad deployment: roll back (docs/operations.md, Upgrade and rollback)", None, ""
            ),
            Step("Infrastructure down: the provider's status page; then bring it back", None, ""),
            Step("Our code: find the change, revert, deploy", None, ""),
        ]
    if level == "P2":
        return [
            Step("Which breakers are open? (minitik breaker status)", True, open_ones),
            Step("The platform's developer status page", None, ""),
            Step(
                "An open breaker closes by itself 5 minutes after the platform is back",
                True,
                open_ones,
            ),
            Step("The platform is down: nothing to do, its posts wait", None, ""),
            Step("Our adapter is at fault: the errors by class below; fix and deploy", None, ""),
        ]
    return []

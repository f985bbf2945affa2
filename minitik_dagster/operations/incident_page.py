"""An incident's snapshot as one Markdown page."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

_MARK: Final = {True: "x", False: " ", None: " "}
_TABLES: Final = (
    ("Open alerts", "alerts"),
    ("Checks that are not green", "checks"),
    ("Circuit breakers", "breakers"),
    ("Affected posts", "posts"),
    ("Affected accounts", "accounts"),
    ("Long queries and transactions", "longQueries"),
    ("Dagster runs that hang", "stuckRuns"),
    ("Call limits in use", "limits"),
    ("Dispatchers of the last day", "dispatchers"),
    ("Who did what in the last day", "acts"),
)
_FIGURES: Final = (
    ("Errors by class, last hour", "outcomes"),
    ("Posts that failed, last hour", "failures"),
    ("Lateness in seconds, last hour", "lateness"),
    ("What stands at which stage", "stages"),
    ("Messages that have not left", "outbox"),
)


def page(facts: Mapping[str, Any]) -> str:
    """Return the page; a part that could not be asked says so."""
    severity, schema = facts["severity"], facts["schema"]
    lines = [
        f"# Incident: {severity['level']} proposed ({severity['meaning']})",
        "",
        f"- Respond: {severity['response']}",
        f"- Taken at: {facts['takenAt']}",
        f"- First occurrence found: {facts['since'] or '-'}",
        f"- Program {facts['program']}; schema {schema['database'] or '-'} of {schema['program']}",
    ]
    if schema["pending"]:
        lines.append(f"- Migrations not applied: {'; '.join(schema['pending'])}")
    if facts["couldNotAsk"]:
        lines.append(f"- Could not ask: {', '.join(facts['couldNotAsk'])}")
    lines += [f"- Why: {reason}" for reason in severity["reasons"]]
    if facts["playbook"]:
        lines += ["", "## Playbook", ""]
        for step in facts["playbook"]:
            found = f" ({step['found']})" if step["found"] else ""
            lines.append(f"- [{_MARK[step['done']]}] {step['text']}{found}")
    if facts["queues"] is not None:
        rows = [{"queue": item["name"], **item["counts"]} for item in facts["queues"]["queues"]]
        lines += _table("Queues", rows)
    for title, name in _TABLES:
        if name in facts:
            lines += _table(title, facts[name])
    for title, name in _FIGURES:
        lines += _table(title, facts["figures"][name] if facts["figures"] else None)
    return "\n".join(lines) + "\n"


def _table(title: str, rows: Sequence[Mapping[str, Any]] | None) -> list[str]:
    lines = ["", f"## {title}", ""]
    if rows is None:
        return [*lines, "Could not be asked."]
    if not rows:
        return [*lines, "None."]
    names = list(rows[0])
    lines += [_line(names), "|" + "---|" * len(names)]
    return [*lines, *(_line([row[name] for name in names]) for row in rows)]


def _line(cells: Sequence[Any]) -> str:
    texts = ("-" if cell is None else " ".join(str(cell).split()) for cell in cells)
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"

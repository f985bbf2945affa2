"""The tables of docs/errors.md, made from the code. Run this file to write them (`make docs`)."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from minitik_dagster.platforms import instagram_outcomes, tiktok_outcomes, youtube_outcomes
from minitik_dagster.platforms.outcomes import Rule

PAGE = Path(__file__).parent.parent / "docs" / "errors.md"
BEGIN, END = "<!-- made by `make docs`: {} -->", "<!-- end -->"


def error_tables() -> dict[str, str]:
    """Return each generated table of the page by its name."""
    return {
        "tiktok": _rules(
            ("API", tiktok_outcomes.API_CODES),
            ("upload", {f"upload_{k}": v for k, v in tiktok_outcomes.UPLOAD_STATUSES.items()}),
            ("fail_reason", tiktok_outcomes.FAIL_REASONS),
            ("OAuth", tiktok_outcomes.OAUTH_ERRORS),
        ),
        "instagram": _rules(("API", _graph_codes())),
        "youtube": _rules(
            ("API", youtube_outcomes.REASONS),
            ("processing", _prefixed("failed", youtube_outcomes.FAILURE_REASONS)),
            ("processing", _prefixed("rejected", youtube_outcomes.REJECTION_REASONS)),
            ("OAuth", youtube_outcomes.OAUTH_ERRORS),
        ),
    }


def with_tables(page: str) -> str:
    """Return the page with its tables as the code has them now."""
    for name, table in error_tables().items():
        begin = BEGIN.format(name)
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(END)
        page = f"{before}{begin}\n{table}\n{END}{after}"
    return page


def _graph_codes() -> dict[str, Rule]:
    """Instagram's pairs as text; the hundred permission codes as one line."""
    rows: dict[str, Rule] = {}
    for (code, subcode), rule in instagram_outcomes.API_CODES.items():
        if subcode is None and 200 <= code < 300:
            rows["200-299"] = rule
        else:
            rows[str(code) if subcode is None else f"{code}/{subcode}"] = rule
    return rows


def _prefixed(state: str, rules: Mapping[str, Rule]) -> dict[str, Rule]:
    return {f"{state}/{reason}": rule for reason, rule in rules.items()}


def _rules(*groups: tuple[str, Mapping[str, Rule]]) -> str:
    lines = [
        "| code | where | outcome | on a commit | unhealthy | reason | fix |",
        "|---|---|---|---|---|---|---|",
    ]
    for where, rules in groups:
        lines += [f"| {_cells(code, where, rule)} |" for code, rule in rules.items()]
    return "\n".join(lines)


def _cells(code: str, where: str, rule: Rule) -> str:
    cells: Iterable[str] = (
        f"`{code}`",
        where,
        rule.verdict.value,
        "the same" if rule.refusal else "unknown",
        "yes" if rule.unhealthy else "",
        rule.reason,
        rule.fix,
    )
    return " | ".join(cell.replace("|", "\\|") for cell in cells)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))

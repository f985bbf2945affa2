"""Whether the platforms still know us to every account, as questions."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, text

from minitik_dagster.accounts import probe_queries as queries
from minitik_dagster.accounts.token_health import TABLE_ROWS, Found

# A probe falls due after 20 hours; beyond a day it may be late by two hourly runs.
SLACK: Final = timedelta(hours=2)


def unprobed(connection: Connection) -> Found:
    """Find CONNECTED accounts about which no platform has said anything for a day and `SLACK`."""
    return _ask(connection, queries.UNPROBED, slack=SLACK)


def out_of_order(connection: Connection) -> Found:
    """Find accounts whose last probe found a problem; those that have ended by it, for a day."""
    return _ask(connection, queries.OUT_OF_ORDER)


def probe_table(connection: Connection, limit: int = TABLE_ROWS) -> str:
    """Return the accounts' probes as a Markdown table: ids, never people, never a secret."""
    rows = connection.execute(text(queries.TABLE), {"limit": limit}).mappings().all()
    if not rows:
        return "No connected account."
    lines = [
        "| account | platform | status | probed at | outcome |",
        "|---|---|---|---|---|",
        *(_line(dict(row)) for row in rows),
    ]
    more = rows[0]["total"] - len(rows)
    if more:
        lines.append(f"\n{more} more.")
    return "\n".join(lines)


def _line(row: Mapping[str, Any]) -> str:
    at = row["probed_at"]
    cells = (
        row["id"],
        row["platform"],
        row["status"],
        f"{at:%Y-%m-%d %H:%M:%S}" if at else "-",
        row["outcome"] or "-",
    )
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def _ask(connection: Connection, sql: str, **values: Any) -> Found:
    rows = connection.execute(text(sql), values).all()
    return Found(rows[0].total if rows else 0, tuple(row.id for row in rows))

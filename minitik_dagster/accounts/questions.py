"""How the questions about accounts are asked, and how all accounts are shown as a table."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, text

from minitik_dagster.db.found import Found

TABLE_ROWS: Final = 100


def find(connection: Connection, sql: str, **values: Any) -> Found:
    """Return the accounts a statement names; its rows have `id`, and `total` of them all."""
    rows = connection.execute(text(sql), values).all()
    return Found(rows[0].total if rows else 0, tuple(row.id for row in rows))


def accounts_table(
    connection: Connection,
    sql: str,
    limit: int,
    columns: Sequence[str],
    cells: Callable[[RowMapping], Sequence[object]],
) -> str:
    """Return accounts as a Markdown table of so many rows: ids, never people, never a secret."""
    rows = connection.execute(text(sql), {"limit": limit}).mappings().all()
    if not rows:
        return "No connected account."
    lines = [_line(columns), "|---" * len(columns) + "|", *(_line(cells(row)) for row in rows)]
    more = rows[0]["total"] - len(rows)
    if more:
        lines.append(f"\n{more} more.")
    return "\n".join(lines)


def shown(at: datetime | None) -> str:
    """Return an instant as the tables show it: UTC, to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else "-"


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"

"""Whether tokens will live until they are needed, as questions; and telling owners in time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, text

from minitik_dagster.accounts import token_health_queries as queries
from minitik_dagster.accounts.refresh_due import CUT_OFF_AFTER

TABLE_ROWS: Final = 100


@dataclass(frozen=True)
class Found:
    """Accounts a question found: how many, and the first hundred ids."""

    total: int
    ids: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.total > 0


def outlived(connection: Connection) -> Found:
    """Find CONNECTED accounts whose token, or what renews it, ends before their next post."""
    return _ask(connection, queries.OUTLIVED)


def ending(connection: Connection) -> Found:
    """Find accounts that cannot be renewed any more in 14 days: a person must connect them anew."""
    return _ask(connection, queries.ENDING)


def cut_off(connection: Connection) -> Found:
    """Find accounts whose last refresh began and never ended: a process died, or no answer came.

    The next refresh tells which it was: it goes well, or the account becomes EXPIRED with the code
    `refresh_cut_off` and must be reconnected.
    """
    return _ask(connection, queries.CUT_OFF, after=CUT_OFF_AFTER)


def tell_who_expires_soon(connection: Connection) -> int:
    """Queue `account.expires_soon` 14, 7 and 1 days ahead, once each, in the caller's transaction."""
    connection.execute(text(queries.ONE_AT_A_TIME))
    return len(connection.execute(text(queries.EXPIRES_SOON)).all())


def token_table(connection: Connection, limit: int = TABLE_ROWS) -> str:
    """Return the accounts' tokens as a Markdown table: ids, never people, never a secret."""
    rows = connection.execute(text(queries.TABLE), {"limit": limit}).mappings().all()
    if not rows:
        return "No connected account."
    lines = [
        "| account | platform | token expires | last refresh | outcome |",
        "|---|---|---|---|---|",
        *(_line(dict(row)) for row in rows),
    ]
    more = rows[0]["total"] - len(rows)
    if more:
        lines.append(f"\n{more} more.")
    return "\n".join(lines)


def _line(row: Mapping[str, Any]) -> str:
    outcome = row["outcome"] or "-"
    if row["failures"]:
        outcome += f" ({row['failures']} times)"
    if row["started_at"]:
        outcome += f"; begun {_instant(row['started_at'])} and not ended"
    cells = (
        row["id"],
        row["platform"],
        _instant(row["expires_at"]),
        _instant(row["refreshed_at"]),
        outcome,
    )
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def _instant(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else "-"


def _ask(connection: Connection, sql: str, **values: Any) -> Found:
    rows = connection.execute(text(sql), values).all()
    return Found(rows[0].total if rows else 0, tuple(row.id for row in rows))

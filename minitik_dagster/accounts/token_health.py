"""Whether tokens will live until they are needed, as questions; and telling owners in time."""

from typing import Final

from sqlalchemy import Connection, RowMapping, text

from minitik_dagster.accounts import token_health_queries as queries
from minitik_dagster.accounts.questions import TABLE_ROWS, accounts_table, find, shown
from minitik_dagster.accounts.refresh_due import CUT_OFF_AFTER
from minitik_dagster.db.found import Found

_COLUMNS: Final = ("account", "platform", "token expires", "last refresh", "outcome")


def outlived(connection: Connection) -> Found:
    """Find CONNECTED accounts whose token, or what renews it, ends before their next post."""
    return find(connection, queries.OUTLIVED)


def ending(connection: Connection) -> Found:
    """Find accounts that cannot be renewed any more in 14 days: a person must connect them anew."""
    return find(connection, queries.ENDING)


def cut_off(connection: Connection) -> Found:
    """Find accounts whose last refresh began and never ended: a process died, or no answer came.

    The next refresh tells which it was: it goes well, or the account becomes EXPIRED with the code
    `refresh_cut_off` and must be reconnected.
    """
    return find(connection, queries.CUT_OFF, after=CUT_OFF_AFTER)


def tell_who_expires_soon(connection: Connection) -> int:
    """Queue `account.expires_soon` 14, 7 and 1 days ahead, once each, in the caller's transaction."""
    connection.execute(text(queries.ONE_AT_A_TIME))
    return len(connection.execute(text(queries.EXPIRES_SOON)).all())


def token_table(connection: Connection, limit: int = TABLE_ROWS) -> str:
    """Return the accounts' tokens as a Markdown table."""
    return accounts_table(connection, queries.TABLE, limit, _COLUMNS, _cells)


def _cells(row: RowMapping) -> tuple[object, ...]:
    outcome = row["outcome"] or "-"
    if row["failures"]:
        outcome += f" ({row['failures']} times)"
    if row["started_at"]:
        outcome += f"; begun {shown(row['started_at'])} and not ended"
    return (
        row["id"],
        row["platform"],
        shown(row["expires_at"]),
        shown(row["refreshed_at"]),
        outcome,
    )

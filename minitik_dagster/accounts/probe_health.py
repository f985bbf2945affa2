"""Whether the platforms still know us to every account, as questions."""

from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, RowMapping

from minitik_dagster.accounts import probe_queries as queries
from minitik_dagster.accounts.questions import TABLE_ROWS, accounts_table, find, shown
from minitik_dagster.db.found import Found

# A probe falls due after 20 hours; beyond a day it may be late by two hourly runs.
SLACK: Final = timedelta(hours=2)
_COLUMNS: Final = ("account", "platform", "status", "probed at", "outcome")


def unprobed(connection: Connection) -> Found:
    """Find CONNECTED accounts about which no platform has said anything for a day and `SLACK`."""
    return find(connection, queries.UNPROBED, slack=SLACK)


def out_of_order(connection: Connection) -> Found:
    """Find accounts whose last probe found a problem; those that have ended by it, for a day."""
    return find(connection, queries.OUT_OF_ORDER)


def probe_table(connection: Connection, limit: int = TABLE_ROWS) -> str:
    """Return the accounts' probes as a Markdown table."""
    return accounts_table(connection, queries.TABLE, limit, _COLUMNS, _cells)


def _cells(row: RowMapping) -> tuple[object, ...]:
    return row["id"], row["platform"], row["status"], shown(row["probed_at"]), row["outcome"] or "-"

"""The system in figures beyond the queues: lateness, outcomes, tokens, uploads, messages, alerts.

All of it is read from our own tables, so it is true whichever processes run. Names ids of platforms
and kinds, never people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, text

from minitik_dagster.operations import figure_queries as queries

# Lateness, outcomes and failures are those of the last hour.
WINDOW: Final = timedelta(hours=1)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Figures:
    """Rows by their question; the fields' names are those of figure_queries, in lower case.

    lateness in seconds after the due instant per platform and step; `horizon` in seconds until the
    platform's first token ends; `oldest` in seconds since the oldest waiting message was queued.
    """

    lateness: Sequence[Row]
    outcomes: Sequence[Row]
    failures: Sequence[Row]
    stages: Sequence[Row]
    tokens: Sequence[Row]
    uploads: Sequence[Row]
    outbox: Sequence[Row]
    alerts: Sequence[Row]
    dispatchers: Sequence[Row]

    @property
    def unknown(self) -> int:
        """How many commits have an outcome that nobody knows yet."""
        return self.standing("unknown")

    def standing(self, *stages: str) -> int:
        """Count the publications that stand at one of these stages."""
        return sum(row["posts"] for row in self.stages if row["stage"] in stages)


def collect(connection: Connection, window: timedelta = WINDOW) -> Figures:
    """Read all figures now, on the caller's connection."""

    def rows(sql: str) -> list[Row]:
        asked = text(sql)
        values = {"window": window} if ":window" in sql else {}
        return [dict(row) for row in connection.execute(asked, values).mappings()]

    return Figures(
        lateness=rows(queries.LATENESS),
        outcomes=rows(queries.OUTCOMES),
        failures=rows(queries.FAILURES),
        stages=rows(queries.STAGES),
        tokens=rows(queries.TOKENS),
        uploads=rows(queries.UPLOADS),
        outbox=rows(queries.OUTBOX),
        alerts=rows(queries.ALERTS),
        dispatchers=rows(queries.DISPATCHERS),
    )

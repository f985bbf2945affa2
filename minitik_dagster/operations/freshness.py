"""Dagster's assets and failed runs as our own alerts know them, with Dagster's daemon alive or dead.

Dagster's sensor writes what its instance tells into two tables of ours (resources.dagster_health); whoever
looks at the alerts reads those, the API process too: what is not made any more is missed though the daemon
that would notice is gone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Connection, text

from minitik_dagster.db.types import from_db, to_db
from minitik_dagster.publishing.queries import NOW

_HOURLY: Final = timedelta(hours=3)
_DAILY: Final = timedelta(hours=30)
# Of the day before, made in the night: one night may fail.
_TWO_DAYS: Final = timedelta(hours=50)
# How old each asset may be: three times its schedule's hour, a day and a quarter. `publications` is made
# when something is due, and is judged by its checks.
MAY_BE_OLD: Final[Mapping[str, timedelta]] = MappingProxyType(
    {
        "account_tokens": timedelta(hours=1),
        "account_health": _HOURLY,
        "reconciled_publications": _HOURLY,
        "metric_snapshots": _HOURLY,
        "daily_metrics": _HOURLY,
        "content_performance": _HOURLY,
        "account_performance": _HOURLY,
        "exports": _TWO_DAYS,
        "youtube_daily_reports": _TWO_DAYS,
        "forecast": _DAILY,
        "lateness": _DAILY,
    }
)

_SEEN: Final = text(
    f"""
    INSERT INTO dagster_assets (asset, since, "materializedAt", "runId")
    VALUES (:asset, {NOW}, :at, :run_id)
    ON CONFLICT (asset) DO UPDATE SET
        "materializedAt" = GREATEST(dagster_assets."materializedAt", EXCLUDED."materializedAt"),
        "runId" = EXCLUDED."runId"
    WHERE EXCLUDED."materializedAt" > COALESCE(dagster_assets."materializedAt", timestamp '-infinity')
    """  # noqa: S608 - a constant
)
_FAILED: Final = text(
    """
    INSERT INTO dagster_failures ("runId", job, assets, "failedAt")
    VALUES (:run_id, :job, :assets, :at) ON CONFLICT ("runId") DO NOTHING
    """
)
_LAST_FAILURE: Final = text('SELECT max("failedAt") FROM dagster_failures')
_STATE: Final = text(
    f"""
    SELECT a.asset, {NOW} AS now, COALESCE(a."materializedAt", a.since) AS at,
        EXISTS (SELECT 1 FROM dagster_failures f WHERE a.asset = ANY(f.assets)
            AND f."failedAt" > COALESCE(a."materializedAt", timestamp '-infinity')) AS failed
    FROM dagster_assets a WHERE a.asset = ANY(:assets) ORDER BY a.asset
    """  # noqa: S608 - a constant
)
_RUNS: Final = text(
    f"""
    SELECT job, count(*) AS runs FROM dagster_failures
    WHERE "failedAt" >= {NOW} - interval '1 hour' GROUP BY 1 ORDER BY 1
    """  # noqa: S608 - a constant
)


@dataclass(frozen=True)
class Failure:
    """A run that failed, and what it was to make and did not."""

    run_id: str
    job: str
    assets: tuple[str, ...]
    at: datetime


def saw(connection: Connection, asset: str, at: datetime | None, run_id: str | None) -> None:
    """Note when an asset was made last; None: it never was."""
    values = {"asset": asset, "at": to_db(at) if at else None, "run_id": run_id}
    connection.execute(_SEEN, values)


def failed(connection: Connection, failures: Iterable[Failure]) -> None:
    """Note runs that failed; each once."""
    for one in failures:
        connection.execute(
            _FAILED,
            {"run_id": one.run_id, "job": one.job, "assets": list(one.assets), "at": to_db(one.at)},
        )


def last_failure(connection: Connection) -> datetime | None:
    """Return when the last failure that is noted happened."""
    at = connection.execute(_LAST_FAILURE).scalar_one()
    return from_db(at) if at is not None else None


def read(connection: Connection) -> dict[str, list[str]]:
    """Return, by the alert's key, what it is about in words: assets and jobs by name."""
    found: dict[str, list[str]] = {"assets.stale": [], "assets.failed": [], "runs.failed": []}
    rows = connection.execute(_STATE, {"assets": list(MAY_BE_OLD)}).mappings().all()
    for row in rows:
        age: Any = row["now"] - row["at"]
        if age > MAY_BE_OLD[row["asset"]]:
            found["assets.stale"].append(f"{row['asset']} ({age / timedelta(hours=1):.0f} h old)")
        if row["failed"]:
            found["assets.failed"].append(row["asset"])
    for run in connection.execute(_RUNS).mappings():
        found["runs.failed"] += [run["job"]] * run["runs"]
    return found

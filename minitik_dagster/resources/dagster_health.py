"""Dagster itself under examination: its instance, the daemons' heartbeats, failed and stuck runs."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from minitik_dagster.db.engine import libpq_url
from minitik_dagster.operations import freshness
from minitik_dagster.operations.findings import Finding, green, red, yellow
from minitik_dagster.settings import Settings

# Longer than run monitoring's max_runtime_seconds in dagster.yaml.
_HANGS_AFTER: Final = timedelta(minutes=25)
# Failures are asked for from the last known one on, with some overlap: their rows are written once.
_LOOK_BACK: Final = timedelta(hours=1)
_OVERLAP: Final = timedelta(minutes=10)
_AT_ONCE: Final = 100
_STORAGE_SECONDS: Final = 3

if TYPE_CHECKING:
    from dagster import DagsterInstance, RunRecord


def look(settings: Settings) -> Iterator[Finding]:
    """Ask the instance of DAGSTER_HOME; nothing where none is configured."""
    if not settings.dagster_home:
        return
    if not (Path(settings.dagster_home) / "dagster.yaml").is_file():
        yield red(
            "dagster", "DAGSTER_HOME holds no dagster.yaml", "copy the one of this project there"
        )
        return
    if (reason := _storage_is_away(settings)) is not None:
        yield red(
            "dagster storage",
            f"does not answer ({reason}): no new runs; a resident dispatcher publishes",
            "start it, or correct DAGSTER_POSTGRES_URL",
        )
        return
    from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

    with DagsterInstance.from_config(settings.dagster_home) as instance:
        statuses = instance.get_daemon_statuses()
        ill = sorted(
            name for name, status in statuses.items() if status.required and not status.healthy
        )
        errors = sorted(
            name
            for name, status in statuses.items()
            if status.required and status.last_heartbeat and status.last_heartbeat.errors
        )
        if ill:
            yield red(
                "dagster daemon",
                f"no heartbeat of: {', '.join(ill)}",
                "start it, exactly one: dagster-daemon run --workspace …; until then a resident "
                "dispatcher publishes: minitik dispatcher",
            )
        elif errors:
            yield yellow(
                "dagster daemon", f"reports errors in: {', '.join(errors)}", "look at its log"
            )
        else:
            yield green("dagster daemon", "beats")
        started = [DagsterRunStatus.STARTING, DagsterRunStatus.NOT_STARTED]
        waiting = instance.get_runs_count(RunsFilter(statuses=started))
        queued = instance.get_runs_count(RunsFilter(statuses=[DagsterRunStatus.QUEUED]))
        if queued > 20 or waiting > 10:
            yield yellow(
                "dagster runs",
                f"{queued} are queued and {waiting} are starting",
                "look at the code server and at max_concurrent_runs of dagster.yaml",
            )


def _storage_is_away(settings: Settings) -> str | None:
    """Ask Dagster's database ourselves: Dagster tries for a quarter of a minute, or waits for ever."""
    if settings.dagster_postgres_url is None:
        return None
    import psycopg

    url = libpq_url(settings.dagster_postgres_url.get_secret_value())
    try:
        psycopg.connect(url, connect_timeout=_STORAGE_SECONDS).close()
    except psycopg.Error as error:
        return type(error).__name__  # its text may hold the user's name
    return None


def mirror(instance: "DagsterInstance", connection: Connection) -> None:
    """Note in our own tables when each asset was made last, and which runs have failed.

    A failure's assets are those that its run was to make and did not.
    """
    from dagster import AssetKey, DagsterRunStatus, RunsFilter

    keys = [AssetKey(name) for name in freshness.MAY_BE_OLD]
    records = {
        record.asset_entry.asset_key.to_user_string(): record.asset_entry.last_materialization_record
        for record in instance.get_asset_records(keys)
    }
    for name in freshness.MAY_BE_OLD:
        made = records.get(name)
        at = datetime.fromtimestamp(made.timestamp, UTC) if made else None
        freshness.saw(connection, name, at, made.run_id if made else None)
    known = freshness.last_failure(connection) or datetime.now(UTC) - _LOOK_BACK
    runs = instance.get_run_records(
        RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=known - _OVERLAP),
        limit=_AT_ONCE,
        order_by="update_timestamp",
        ascending=True,
    )
    freshness.failed(connection, [_failure(instance, record) for record in runs])


def _failure(instance: "DagsterInstance", record: "RunRecord") -> freshness.Failure:
    from dagster import DagsterEventType

    run = record.dagster_run
    planned: set[str] = set()
    made: set[str] = set()
    for kind, names in (
        (DagsterEventType.ASSET_MATERIALIZATION_PLANNED, planned),
        (DagsterEventType.ASSET_MATERIALIZATION, made),
    ):
        for item in instance.get_records_for_run(run.run_id, of_type=kind, limit=_AT_ONCE).records:
            if item.asset_key is not None:
                names.add(item.asset_key.to_user_string())
    return freshness.Failure(
        run_id=run.run_id,
        job=run.job_name,
        assets=tuple(sorted(planned - made)),
        at=record.update_timestamp.replace(tzinfo=record.update_timestamp.tzinfo or UTC),
    )


def stuck_runs(settings: Settings) -> list[dict[str, Any]]:
    """Return runs that have been in progress for longer than a window and its grace."""
    if not settings.dagster_home or _storage_is_away(settings) is not None:
        return []
    from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

    before = datetime.now(UTC) - _HANGS_AFTER
    statuses = [
        DagsterRunStatus.QUEUED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.STARTED,
        DagsterRunStatus.CANCELING,
    ]
    with DagsterInstance.from_config(settings.dagster_home) as instance:
        records = instance.get_run_records(
            RunsFilter(statuses=statuses, updated_before=before), limit=50
        )
        return [
            {
                "run": record.dagster_run.run_id,
                "job": record.dagster_run.job_name,
                "status": record.dagster_run.status.value,
                "updated_at": record.update_timestamp,
            }
            for record in records
        ]

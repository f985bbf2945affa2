"""The job `forecast_publications` and its schedule."""

from dagster import (
    AssetSelection,
    DefaultScheduleStatus,
    RunRequest,
    SkipReason,
    define_asset_job,
    in_process_executor,
    schedule,
)

from minitik_dagster.assets.forecast import everything_due_will_go_out, forecast
from minitik_dagster.resources.deployment import run_unless_idle

forecast_publications = define_asset_job(
    "forecast_publications",
    selection=AssetSelection.assets(forecast) | AssetSelection.checks(everything_due_will_go_out),
    executor_def=in_process_executor,
    description="Looks ahead at everything due within 24 hours and tells what will not make it.",
    tags={"minitik/kind": "forecast"},
)


@schedule(
    job=forecast_publications,
    cron_schedule="10 5 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Once a day: what it finds can still be set right.",
)
def forecast_daily() -> RunRequest | SkipReason:
    """Ask for a run, where this deployment may speak to the platforms."""
    return run_unless_idle()

"""The job `probe_accounts` and its schedule: asking the platforms about the accounts, and the checks."""

from dagster import (
    AssetSelection,
    DefaultScheduleStatus,
    RunRequest,
    SkipReason,
    define_asset_job,
    in_process_executor,
    schedule,
)

from minitik_dagster.assets.account_health import account_health, account_health_checks
from minitik_dagster.resources.deployment import run_unless_idle

probe_accounts = define_asset_job(
    "probe_accounts",
    selection=AssetSelection.assets(account_health) | AssetSelection.checks(account_health_checks),
    executor_def=in_process_executor,
    description="Asks the platforms about the accounts that are due, then whether any is out of order.",
    tags={"minitik/kind": "probe"},
)


@schedule(
    job=probe_accounts,
    cron_schedule="40 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Each account once a day: a run takes those unasked for 20 hours, an eighth at most.",
)
def probe_accounts_every_hour() -> RunRequest | SkipReason:
    """Ask for a run, where this deployment may speak to the platforms."""
    return run_unless_idle()

"""The job `refresh_tokens` and its schedule: renewing tokens and asking the checks in one run."""

from dagster import (
    AssetSelection,
    DefaultScheduleStatus,
    RunRequest,
    SkipReason,
    define_asset_job,
    in_process_executor,
    schedule,
)

from minitik_dagster.assets.account_tokens import account_token_checks, account_tokens
from minitik_dagster.resources.deployment import run_unless_idle

refresh_tokens = define_asset_job(
    "refresh_tokens",
    selection=AssetSelection.assets(account_tokens) | AssetSelection.checks(account_token_checks),
    executor_def=in_process_executor,
    description="Renews the accounts' tokens that are due, then asks whether they reach the next post.",
    tags={"minitik/kind": "refresh"},
)


@schedule(
    job=refresh_tokens,
    cron_schedule="*/5 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Tokens are renewed 30 minutes ahead: several runs may fail before one ends.",
)
def refresh_tokens_every_5_minutes() -> RunRequest | SkipReason:
    """Ask for a run, where this deployment may speak to the platforms."""
    return run_unless_idle()

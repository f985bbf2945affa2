"""The one composition root for Dagster. Loads with every server down; connects to nothing."""

from dagster import Definitions

from minitik_dagster.assets.account_health import account_health, account_health_checks
from minitik_dagster.assets.account_tokens import account_token_checks, account_tokens
from minitik_dagster.assets.forecast import everything_due_will_go_out, forecast
from minitik_dagster.assets.lateness import lateness, posts_are_on_time
from minitik_dagster.assets.publication_checks import publication_checks
from minitik_dagster.assets.publications import contents, publications
from minitik_dagster.assets.reconciled_publications import reconciled_publications
from minitik_dagster.jobs import analytics
from minitik_dagster.jobs.forecast import forecast_daily, forecast_publications
from minitik_dagster.jobs.maintain import maintain, maintain_daily
from minitik_dagster.jobs.measure_lateness import measure_lateness, measure_lateness_daily
from minitik_dagster.jobs.probe_accounts import probe_accounts, probe_accounts_every_hour
from minitik_dagster.jobs.publish_due_posts import publish_due_posts
from minitik_dagster.jobs.refresh_tokens import refresh_tokens, refresh_tokens_every_5_minutes
from minitik_dagster.jobs.replay_dead_letters import replay_dead_letters
from minitik_dagster.jobs.tidy_uploads import tidy_uploads, tidy_uploads_every_15_minutes
from minitik_dagster.jobs.upkeep import (
    check_publications,
    check_publications_every_15_minutes,
    reconcile_publications,
    reconcile_yesterday_and_today,
)
from minitik_dagster.resources import analytics as mongo
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.lake import ParquetIOManager
from minitik_dagster.resources.settings import SettingsResource
from minitik_dagster.sensors.alerts import alerts
from minitik_dagster.sensors.due_posts import due_posts
from minitik_dagster.sensors.resident_windows import resident_windows
from minitik_dagster.sensors.undone_exports import undone_exports

defs = Definitions(
    assets=[
        contents,
        publications,
        reconciled_publications,
        account_tokens,
        account_health,
        forecast,
        lateness,
        *analytics.ASSETS,
    ],
    asset_checks=[
        publication_checks,
        account_token_checks,
        account_health_checks,
        everything_due_will_go_out,
        posts_are_on_time,
        *analytics.CHECKS,
    ],
    jobs=[
        publish_due_posts,
        replay_dead_letters,
        reconcile_publications,
        check_publications,
        refresh_tokens,
        probe_accounts,
        maintain,
        forecast_publications,
        measure_lateness,
        *analytics.JOBS,
        tidy_uploads,
    ],
    schedules=[
        check_publications_every_15_minutes,
        reconcile_yesterday_and_today,
        refresh_tokens_every_5_minutes,
        probe_accounts_every_hour,
        maintain_daily,
        forecast_daily,
        measure_lateness_daily,
        *analytics.SCHEDULES,
        tidy_uploads_every_15_minutes,
    ],
    sensors=[due_posts, resident_windows, alerts, undone_exports],
    resources={
        "settings": SettingsResource(),
        "database": DatabaseResource(),
        **mongo.RESOURCES,
        "lake": ParquetIOManager(),
    },
)

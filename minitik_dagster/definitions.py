"""The one composition root for Dagster. Loads with every server down; connects to nothing."""

from dagster import Definitions

from minitik_dagster.assets.account_tokens import account_token_checks, account_tokens
from minitik_dagster.assets.publication_checks import publication_checks
from minitik_dagster.assets.publications import publications
from minitik_dagster.assets.reconciled_publications import reconciled_publications
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
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.settings import SettingsResource
from minitik_dagster.sensors.due_posts import due_posts
from minitik_dagster.sensors.resident_windows import resident_windows

defs = Definitions(
    assets=[publications, reconciled_publications, account_tokens],
    asset_checks=[publication_checks, account_token_checks],
    jobs=[
        publish_due_posts,
        replay_dead_letters,
        reconcile_publications,
        check_publications,
        refresh_tokens,
        tidy_uploads,
    ],
    schedules=[
        check_publications_every_15_minutes,
        reconcile_yesterday_and_today,
        refresh_tokens_every_5_minutes,
        tidy_uploads_every_15_minutes,
    ],
    sensors=[due_posts, resident_windows],
    resources={"settings": SettingsResource(), "database": DatabaseResource()},
)

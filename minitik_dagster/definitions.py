"""The one composition root for Dagster. Loads with every server down; connects to nothing."""

from dagster import Definitions

from minitik_dagster.assets.publications import publications
from minitik_dagster.jobs.publish_due_posts import publish_due_posts
from minitik_dagster.jobs.replay_dead_letters import replay_dead_letters
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.settings import SettingsResource
from minitik_dagster.sensors.due_posts import due_posts

defs = Definitions(
    assets=[publications],
    jobs=[publish_due_posts, replay_dead_letters],
    sensors=[due_posts],
    resources={"settings": SettingsResource(), "database": DatabaseResource()},
)

"""The sensor `alerts`: evaluates the thresholds and sends what is to be told."""

from dagster import DefaultSensorStatus, SensorEvaluationContext, SkipReason, sensor
from sqlalchemy.exc import DBAPIError

from minitik_dagster.db.instance import not_ours
from minitik_dagster.logs import configure_logging
from minitik_dagster.notifications.alert_post import AlertPost
from minitik_dagster.operations import alerts as domain
from minitik_dagster.operations import servers
from minitik_dagster.resources.dagster_health import mirror
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.object_store import kept_store
from minitik_dagster.settings import load_settings


@sensor(
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Evaluates the thresholds of alerts; the API process does the same without Dagster.",
)
def alerts(context: SensorEvaluationContext, database: DatabaseResource) -> SkipReason:
    """Look once; asks for no run."""
    settings = load_settings()
    # What is raised is told in the code server's log, in the form that is set.
    configure_logging(settings)
    try:
        with database.connect() as connection:
            idle = not_ours(connection, settings)
            if idle is not None:
                # Nor is it said that Dagster looks: production's daemon would not be missed.
                return SkipReason(f"{idle}: another deployment judges and tells")
        asked = servers.ask(settings, lambda: kept_store(settings))
        with database.connect() as connection:
            looked = domain.look(connection, settings, asked=asked, by_sensor=True)
            engine = connection.engine
        sent = AlertPost(engine, settings).work()
        with database.connect() as connection:
            mirror(context.instance, connection)
    except DBAPIError as error:
        return SkipReason(f"PostgreSQL does not answer ({type(error.orig).__name__})")
    if looked is None:
        return SkipReason("another process is looking")
    changes = ", ".join(f"{key} {change}" for key, change in looked.changes.items())
    context.log.debug("thresholds: %s", changes or "no change")
    return SkipReason(f"{changes or 'no change'}; {sent} notices sent")

"""The job `finish_exports`: writes the exports that people ordered and nobody wrote."""

from dagster import MetadataValue, OpExecutionContext, in_process_executor, job, op

from minitik_dagster.resources.analytics import MongoResource
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.settings import SettingsResource


@op(
    description="Writes the exports that were left undone, the oldest first; says what became of them."
)
def write_undone_exports(
    context: OpExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    mongo: MongoResource,
) -> None:
    """Write them; how many came to which state is the output's metadata."""
    # Lazy: definitions load fast.
    from minitik_dagster.analytics.export_orders import finish_undone
    from minitik_dagster.media.object_store import ObjectStore

    with database.connect() as connection:
        engine = connection.engine
    with mongo.store() as store:
        told = finish_undone(engine, store, ObjectStore.from_settings(settings.load()))
    context.log.info("exports: %s", dict(told) or "none was left undone")
    context.add_output_metadata({state: MetadataValue.int(n) for state, n in told.items()})


@job(
    description="Finishes exports that the API process left undone. Safe at any time.",
    executor_def=in_process_executor,
    tags={"minitik/kind": "analytics"},
)
def finish_exports() -> None:
    """Finish them once."""
    write_undone_exports()

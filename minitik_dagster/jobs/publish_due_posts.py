"""The job `publish_due_posts`: one dispatcher's window as a Dagster run."""

import asyncio

from dagster import (
    AssetMaterialization,
    Config,
    OpExecutionContext,
    in_process_executor,
    job,
    op,
)
from pydantic import Field

from minitik_dagster.assets.publications import PUBLICATIONS_KEY, window_metadata
from minitik_dagster.resources.settings import SettingsResource


class DispatchConfig(Config):
    """How this window runs; no secret may stand here: run config is kept for ever."""

    shard: int = Field(default=0, description="Which of several dispatchers asked for at once.")


@op(description="Claims what is due, prepares it ahead, commits it at its instant, confirms it.")
def dispatch_window(
    context: OpExecutionContext, config: DispatchConfig, settings: SettingsResource
) -> None:
    """Run one dispatcher and report its window as a materialization of `publications`."""
    # Lazy: definitions load fast, and only this op needs the engine.
    from minitik_dagster.logs import configure_logging
    from minitik_dagster.publishing.engine import dispatch

    environment = settings.load()
    configure_logging(environment)
    context.log.info("dispatcher starts (shard %d)", config.shard)
    summary, tally = asyncio.run(dispatch(environment, kind="dagster", run_id=context.run_id))
    context.log_event(
        AssetMaterialization(
            PUBLICATIONS_KEY, metadata=window_metadata(summary, tally.failures_table())
        )
    )


@job(
    description="One dispatcher's window. Safe to start by hand at any time: work is divided by leases.",
    executor_def=in_process_executor,
    # Our queue owns retry; a dispatcher that died is replaced by the sensor, not resumed.
    tags={"dagster/max_retries": "0", "minitik/kind": "publish"},
    run_tags={"dagster/max_retries": "0", "minitik/kind": "publish", "dagster/priority": "10"},
)
def publish_due_posts() -> None:
    """Run one dispatcher."""
    dispatch_window()

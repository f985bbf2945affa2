"""The log of a Dagster run: every line of its process names the run.

Resources are made at a run's start, in the thread that its ops then run in: what they bind there stands in
every event of ours until they are taken down.
"""

from dagster import InitResourceContext
from structlog.contextvars import bind_contextvars, unbind_contextvars

from minitik_dagster.errors import ConfigurationError
from minitik_dagster.logs import configure_logging
from minitik_dagster.settings import load_settings


def begin(context: InitResourceContext) -> None:
    """Bind `run_id` and `job`; nothing outside of a run (a sensor's tick)."""
    run = context.run
    if run is None:
        return
    try:
        configure_logging(load_settings())
    except ConfigurationError:
        return  # the op says so, with every problem
    bind_contextvars(run_id=run.run_id, job=run.job_name)


def end() -> None:
    """Let go of both."""
    unbind_contextvars("run_id", "job")

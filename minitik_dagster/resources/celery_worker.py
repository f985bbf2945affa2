"""The Celery application of a worker: the one that DAGSTER_HOME's run launcher sends its runs through.

    celery --app minitik_dagster.resources.celery_worker worker --concurrency 4

Broker, result backend and every option stand in one place, `run_launcher` of dagster.yaml
(deploy/celery/dagster.yaml), so that what launches a run and what executes it cannot differ. Needs the extra
`celery`.
"""

import os
import signal
from contextlib import suppress

from celery import Celery
from celery.signals import worker_shutting_down
from celery.worker import state
from dagster import DagsterInstance
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from minitik_dagster.errors import ConfigurationError


@worker_shutting_down.connect  # type: ignore[untyped-decorator]  # Celery has no types
def end_runs(**_told: object) -> None:
    """Let the worker's runs hear that it is being stopped, as a code server's runs do.

    A dispatcher ends what it is sending and gives the rest back; Celery alone would wait for its window.
    """
    for request in tuple(state.active_requests):
        if request.worker_pid:
            with suppress(ProcessLookupError):
                os.kill(request.worker_pid, signal.SIGTERM)


def worker_app(instance: DagsterInstance) -> Celery:
    """Return the application with the tasks that execute runs.

    Raises ConfigurationError where the instance's dagster.yaml launches its runs in another way.
    """
    launcher = instance.run_launcher
    if not isinstance(launcher, CeleryRunLauncher):
        told = (
            "DAGSTER_HOME's dagster.yaml launches no runs through Celery: "
            "put deploy/celery/dagster.yaml there"
        )
        raise ConfigurationError([told])
    app = launcher.celery
    create_execute_job_task(app)
    create_resume_job_task(app)
    return app


def __getattr__(name: str) -> Celery:
    """Make the application when Celery's command line asks for it; importing this needs no instance."""
    if name == "app":
        made = globals()["app"] = worker_app(DagsterInstance.get())
        return made
    raise AttributeError(name)

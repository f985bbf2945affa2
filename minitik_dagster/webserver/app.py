"""Dagster's web UI as an ASGI application of ours, for uvicorn: the stock server behind its guard.

    uvicorn minitik_dagster.webserver.app:create_app --factory --port 3000
    uvicorn minitik_dagster.webserver.app:create_viewer_app --factory --port 3001

Instance and workspace are those of DAGSTER_HOME. uvicorn binds loopback unless told otherwise.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.cli import (
    DEFAULT_DB_STATEMENT_TIMEOUT,
    DEFAULT_POOL_MAX_OVERFLOW,
    DEFAULT_POOL_RECYCLE,
)
from dagster_webserver.version import __version__
from starlette.applications import Starlette

from minitik_dagster.errors import ConfigurationError
from minitik_dagster.logs import configure_logging
from minitik_dagster.settings import Settings, load_settings
from minitik_dagster.webserver.guard import WebUiGuard

_POLL_MILLISECONDS = 2000


def create_app() -> WebUiGuard:
    """Make the web UI as operators use it.

    Raises ConfigurationError when the environment is unfit, or DAGSTER_HOME lacks its workspace.yaml.
    """
    return _guarded(load_settings(), read_only=False)


def create_viewer_app() -> WebUiGuard:
    """Make a web UI that shows everything and changes nothing (as `dagster-webserver --read-only`)."""
    return _guarded(load_settings(), read_only=True)


def _guarded(settings: Settings, *, read_only: bool) -> WebUiGuard:
    if settings.dagster_home is None:
        raise ConfigurationError(["DAGSTER_HOME is not set; `minitik up` makes one"])
    workspace = Path(settings.dagster_home) / "workspace.yaml"
    if not workspace.is_file():
        raise ConfigurationError([f"DAGSTER_HOME has no workspace.yaml: {workspace} is missing"])
    configure_logging(settings)
    instance = DagsterInstance.get()
    instance.optimize_for_webserver(
        DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW
    )
    context = WorkspaceProcessContext(
        instance,
        workspace_load_target=WorkspaceFileTarget(paths=[str(workspace)]),
        version=__version__,
        read_only=read_only,
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        with instance, context:
            yield

    app = create_app_from_workspace_process_context(
        context, live_data_poll_rate=_POLL_MILLISECONDS, lifespan=lifespan
    )
    return WebUiGuard(app, settings.allowed_hosts())

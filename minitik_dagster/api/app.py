"""The HTTP application: wiring only. Nothing connects at import or at creation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from minitik_dagster import __version__
from minitik_dagster.api.alarm import AlarmWatch
from minitik_dagster.api.background import Background
from minitik_dagster.api.boundary import RequestBoundary
from minitik_dagster.api.database_watch import DatabaseWatch
from minitik_dagster.api.epoch import EpochWatch
from minitik_dagster.api.exit import server_exit
from minitik_dagster.api.memory import spare_the_collector
from minitik_dagster.api.notices import NoticePost
from minitik_dagster.api.openapi import install_openapi, name_operations
from minitik_dagster.api.problems import install_handlers
from minitik_dagster.api.push_post import PushPost
from minitik_dagster.api.routers import ROUTERS, webhooks
from minitik_dagster.api.schemas.webhooks import ChangedMessage
from minitik_dagster.api.state import ApiState
from minitik_dagster.api.streams import EventHub
from minitik_dagster.api.webhook_post import WebhookPost
from minitik_dagster.logs import configure_logging
from minitik_dagster.settings import Settings, load_settings

_DESCRIPTION = (
    "Upload a video, schedule it, follow it until it is public on TikTok, Instagram and YouTube. "
    "Times are ISO 8601; errors are RFC 9457 problems that name the field and the fix."
)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    configure_logging(app.state.minitik.settings)
    state = app.state.minitik
    works = (
        DatabaseWatch(state),
        AlarmWatch(state),
        EpochWatch(state),
        WebhookPost(state),
        PushPost(state),
    )
    background = [app.state.notices, *(Background(state.settings, work) for work in works)]
    for one in background:
        one.start()
    exiting = getattr(app.state, "exiting", None)
    if exiting is None:  # a process of its own, not a test's thread
        exiting = server_exit()
        spare_the_collector()
    app.state.events = EventHub(state.settings, exiting)
    yield
    await app.state.events.close()
    for one in reversed(background):
        one.stop()
    state.close()


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the application from the environment, or from the settings given.

    Raises ConfigurationError, naming every problem, when the environment is unfit.
    """
    settings = settings or load_settings()
    app = FastAPI(
        title="minitik",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=_lifespan,
        redoc_url=None,
    )
    app.state.minitik = ApiState(settings)
    app.state.notices = Background(settings, NoticePost(app.state.minitik))
    app.add_middleware(RequestBoundary, hosts=settings.allowed_hosts())
    install_handlers(app)
    install_openapi(app, webhooks.sent, [ChangedMessage])
    name_operations((*ROUTERS, webhooks.sent))
    for router in ROUTERS:
        app.include_router(router)
    return app

"""What endpoints ask for: settings, a session, the object store. Made at first use, per application.

Each is one step from the request: FastAPI solves the dependencies of a dependency anew at every place that
names it, whether or not its answer is kept (FastAPI docs, "Sub-dependencies"). All are coroutine functions:
FastAPI sends every other dependency to a thread of its own, and each such hop waits for the interpreter's
lock (FastAPI docs, "Concurrency and async / await").
"""

from typing import Annotated, Final

from anyio import CapacityLimiter
from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from minitik_dagster.api.state import ApiState
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.settings import Settings

TURNS: Final = "minitik_turns"
"""Where a request's session keeps the limiter of the threads that may hold one (`api/routing.py`)."""
ENDS_SESSIONS: Final = "minitik_ends_sessions"
"""The attribute of an endpoint whose route ends its sessions: any other would never commit."""


def state_of(request: Request) -> ApiState:
    """Return what the application's lifespan owns."""
    state = request.app.state.minitik
    assert isinstance(state, ApiState)
    return state


async def _state(request: Request) -> ApiState:
    return state_of(request)


async def _settings(request: Request) -> Settings:
    return state_of(request).settings


async def _engine(request: Request) -> Engine:
    return state_of(request).engine


async def _object_store(request: Request) -> ObjectStore:
    return state_of(request).object_store


def _turns(request: Request) -> dict[str, CapacityLimiter]:
    if not hasattr(request.scope["endpoint"], ENDS_SESSIONS):
        raise TypeError(
            "a session is for a plain function on api.routing.Router: nobody else ends it"
        )
    return {TURNS: state_of(request).turns}


async def _session(request: Request) -> Session:
    return Session(state_of(request).engine, expire_on_commit=False, info=_turns(request))


async def _reading_session(request: Request) -> Session:
    return Session(
        state_of(request).reading, expire_on_commit=False, autoflush=False, info=_turns(request)
    )


StateDep = Annotated[ApiState, Depends(_state)]
SettingsDep = Annotated[Settings, Depends(_settings)]
# Nothing has connected before its first use.
EngineDep = Annotated[Engine, Depends(_engine)]
# DependencyDownError('s3') where no bucket is configured.
StoreDep = Annotated[ObjectStore, Depends(_object_store)]
# A session of one transaction, for an endpoint that is a plain function: its route commits or rolls back in
# the endpoint's own thread (api/routing.py). It connects at its first statement.
SessionDep = Annotated[Session, Depends(_session)]
# One that only reads: without a transaction, and nothing that it would write is kept.
ReadingDep = Annotated[Session, Depends(_reading_session)]

"""What endpoints ask for: settings, a session, the object store. Made at first use, per application."""

from collections.abc import Iterator
from typing import Annotated, Final

from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from minitik_dagster.api.state import ApiState
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.settings import Settings


def get_state(request: Request) -> ApiState:
    """Return what the application's lifespan owns."""
    state = request.app.state.minitik
    assert isinstance(state, ApiState)
    return state


StateDep = Annotated[ApiState, Depends(get_state)]


def get_settings(state: StateDep) -> Settings:
    """Return the application's settings."""
    return state.settings


def get_engine(state: StateDep) -> Engine:
    """Return the engine; nothing has connected before its first use."""
    return state.engine


def get_object_store(state: StateDep) -> ObjectStore:
    """Return the bucket; DependencyDownError('s3') where none is configured."""
    return state.object_store


def session(engine: Annotated[Engine, Depends(get_engine)]) -> Iterator[Session]:
    """Yield a session of one transaction: committed when the endpoint returned, else rolled back.

    Its scope is the endpoint function, so the commit stands before a byte of the answer is sent: a
    201 is never told of a row that is not there.
    """
    with sessionmaker(engine, expire_on_commit=False).begin() as open_session:
        yield open_session


SettingsDep = Annotated[Settings, Depends(get_settings)]
EngineDep = Annotated[Engine, Depends(get_engine)]
StoreDep = Annotated[ObjectStore, Depends(get_object_store)]
# Requests that hold a transaction may wait for each other's rows, each in a thread. Were all threads (40)
# to wait, the one they wait for would find none to make its answer in, and end at a time-out. Further
# requests wait for their turn without a thread (FastAPI docs, "Advanced Dependencies", limit dependency
# concurrency).
TRANSACTIONS_AT_ONCE: Final = 20
SessionDep = Annotated[
    Session, Depends(session, scope="function", max_concurrency=TRANSACTIONS_AT_ONCE)
]

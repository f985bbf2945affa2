"""What endpoints ask for: settings, a session, the object store. Made at first use, per application.

What waits for nothing is a coroutine function: FastAPI sends every other dependency to a thread of its
own, and each such hop waits for the interpreter's lock (FastAPI docs, "Concurrency and async / await").
"""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Final

import anyio
from anyio import to_thread
from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from minitik_dagster.api.state import ApiState
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.settings import Settings


async def get_state(request: Request) -> ApiState:
    """Return what the application's lifespan owns."""
    state = request.app.state.minitik
    assert isinstance(state, ApiState)
    return state


StateDep = Annotated[ApiState, Depends(get_state)]


async def get_settings(state: StateDep) -> Settings:
    """Return the application's settings."""
    return state.settings


async def get_engine(state: StateDep) -> Engine:
    """Return the engine; nothing has connected before its first use."""
    return state.engine


async def get_object_store(state: StateDep) -> ObjectStore:
    """Return the bucket; DependencyDownError('s3') where none is configured."""
    return state.object_store


async def session(engine: Annotated[Engine, Depends(get_engine)]) -> AsyncIterator[Session]:
    """Yield a session of one transaction: committed when the endpoint returned, else rolled back.

    Its scope is the endpoint function, so the commit stands before a byte of the answer is sent: a
    201 is never told of a row that is not there. It connects at its first statement, in the
    endpoint's thread.
    """
    opened = Session(engine, expire_on_commit=False)
    try:
        yield opened
        if opened.in_transaction():
            await _whole(opened.commit)
    finally:
        if opened.in_transaction():
            await _whole(opened.rollback)


async def reading_session(state: StateDep) -> AsyncIterator[Session]:
    """Yield a session that reads: no transaction, and nothing that it would write is kept."""
    opened = Session(state.reading, expire_on_commit=False, autoflush=False)
    try:
        yield opened
    finally:
        # Gives the connection back; without a transaction nothing is said to the server.
        opened.close()


async def _whole(step: Callable[[], None]) -> None:
    """Take the step in a thread, to its end even where the request is cancelled meanwhile."""
    with anyio.CancelScope(shield=True):
        await to_thread.run_sync(step)


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
ReadingDep = Annotated[
    Session, Depends(reading_session, scope="function", max_concurrency=TRANSACTIONS_AT_ONCE)
]

"""Routes whose endpoints are plain functions: one thread each, and in it the transaction too."""

from collections.abc import Callable
from functools import partial, wraps
from inspect import iscoroutinefunction
from typing import Any

from anyio import to_thread
from fastapi import APIRouter
from sqlalchemy.orm import Session

from minitik_dagster.api.dependencies import ENDS_SESSIONS, TURNS


def _in_a_thread(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(endpoint)
    async def run(**values: Any) -> Any:
        for value in values.values():
            if isinstance(value, Session):
                step = partial(_in_one_transaction, value, endpoint, values)
                return await to_thread.run_sync(step, limiter=value.info[TURNS])
        return await to_thread.run_sync(partial(endpoint, **values))

    setattr(run, ENDS_SESSIONS, True)
    return run


def _in_one_transaction(
    session: Session, endpoint: Callable[..., Any], values: dict[str, Any]
) -> Any:
    """Commit when the endpoint has returned, else roll back; then give the connection back.

    The commit stands before a byte of the answer is sent: a 201 is never told of a row that is not there.
    A thread that has begun goes on to its end, so that nobody who hangs up leaves a transaction open.
    """
    with session:
        answer = endpoint(**values)
        if session.in_transaction():
            session.commit()
    return answer


class Router(APIRouter):
    """FastAPI's router, with a thread less per request.

    FastAPI runs a plain function in a thread, and writes its answer in another one; here the answer is
    written on the event loop.
    """

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Add a route; a plain function is run in a thread."""
        if not iscoroutinefunction(endpoint):
            endpoint = _in_a_thread(endpoint)
        super().add_api_route(path, endpoint, **options)

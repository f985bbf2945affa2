"""Routes whose endpoints are plain functions, at one thread each."""

from collections.abc import Callable
from functools import partial, wraps
from inspect import iscoroutinefunction
from typing import Any

from anyio import to_thread
from fastapi import APIRouter


def _in_a_thread(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(endpoint)
    async def run(**values: Any) -> Any:
        return await to_thread.run_sync(partial(endpoint, **values))

    return run


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

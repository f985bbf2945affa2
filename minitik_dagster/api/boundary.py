"""The outermost layer: request id, allowed hosts, the body's size, and the last line of defence.

A plain ASGI layer, so that its header is on every answer and no unexpected error can slip past it.
"""

import json
import re
import traceback
from collections.abc import Iterable
from typing import Any, Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from minitik_dagster.api import request_log
from minitik_dagster.api.problems import (
    INTERNAL,
    INVALID_HOST,
    MEDIA_TYPE,
    TOO_LARGE,
    ProblemType,
    problem_body,
)
from minitik_dagster.clock import boottime
from minitik_dagster.hosts import host_name
from minitik_dagster.ids import new_id
from minitik_dagster.resilience.request_rate import Taken

REQUEST_ID_HEADER: Final = "X-Request-Id"
# Bodies hold texts and ids; media goes to the object store. A post's options may hold a YouTube thumbnail of
# 50 MB in base64, and a small video is a body of its own (api/routers/direct_upload.py bounds it further).
MAX_BODY_BYTES: Final = 1_000_000
MAX_POST_BYTES: Final = 70_000_000
_POSTS: Final = re.compile(r"/api/(scheduling|publishing|content/direct)(/|$)")
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = structlog.get_logger(__name__)


class RequestBoundary:
    """ASGI layer around the application; see the module's text."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app = app
        self.hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; what is not HTTP passes."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID_HEADER, "")
        request_id = given if _GIVEN_ID.fullmatch(given) else new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        with bound_contextvars(request_id=request_id):
            await self._serve(scope, receive, send, headers, request_id)

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, headers: Headers, request_id: str
    ) -> None:
        started = False
        began = boottime()
        request_log.begin()

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                seconds = boottime() - began
                request_log.ended(scope, message["status"], seconds)
                told = MutableHeaders(scope=message)
                told[REQUEST_ID_HEADER] = request_id
                if isinstance(rate := scope["state"].get("rate"), Taken):
                    told.update(rate.headers())
            await send(message)

        most = MAX_POST_BYTES if _POSTS.match(scope["path"]) else MAX_BODY_BYTES
        if (refusal := self._refusal(headers, most)) is not None:
            await _send_problem(scope, send_with_id, request_id, *refusal)
            return
        limited = _LimitedBody(receive, most)
        try:
            await self.app(scope, limited, send_with_id)
        except _BodyTooLargeError:
            if started:
                raise
            await _send_problem(scope, send_with_id, request_id, *_too_large(most))
        except Exception as error:
            # A defect of ours: its words may hold values, so the log has its class and place alone.
            _log.error(
                "request.failed",
                error=type(error).__name__,
                where=_where(error),
                method=scope["method"],
                route=request_log.route_of(scope),
                request_id=request_id,
            )
            if started:
                raise
            detail = "an unexpected error; tell the operator the requestId"
            await _send_problem(scope, send_with_id, request_id, INTERNAL, detail)

    def _refusal(self, headers: Headers, most: int) -> tuple[ProblemType, str] | None:
        given = headers.getlist("host")
        # Two of them: whoever stood before us may have read the other one (RFC 9112, section 3.2).
        if len(given) != 1 or host_name(given[0]) not in self.hosts:
            return INVALID_HOST, "call this server by its own name (NEXTAUTH_URL) or on loopback"
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > most:
            return _too_large(most)
        return None


class _BodyTooLargeError(Exception):
    """More bytes came than a body may have."""


class _LimitedBody:
    """Counts a body that came without a length."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._left = most

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise _BodyTooLargeError
        return message


def _too_large(most: int) -> tuple[ProblemType, str]:
    return TOO_LARGE, f"a body may have {most} bytes here; media goes to the presigned URLs"


def _where(error: Exception) -> list[str]:
    """Say where it happened, without the error's text: that may hold values."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames]


async def _send_problem(
    scope: Scope, send: Send, request_id: str, kind: ProblemType, detail: str
) -> None:
    problem: dict[str, Any] = problem_body(
        kind, detail, instance=scope["path"], request_id=request_id
    )
    body = json.dumps(problem).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""Errors as RFC 9457 `application/problem+json`: one table from our error tree to HTTP.

Every problem has type, title, status, detail, instance, `errors[]` {field, message, fix}, the request
id, and the old system's `error` string. Nothing of the inside is told: no SQL, no trace, no secret.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from math import ceil
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from minitik_dagster.accounts.vault import VaultError
from minitik_dagster.api.auth import CredentialsError, ForbiddenError
from minitik_dagster.api.invalid_values import problems_of
from minitik_dagster.clock import iso_z
from minitik_dagster.errors import (
    ConfigurationError,
    DependencyDownError,
    FieldProblem,
    InvalidInputError,
    LeaseLostError,
    MinitikError,
    NotConnectedError,
    NotFoundError,
    PlatformError,
    RuleRefusedError,
    SchemaVersionError,
    SignatureRefusedError,
    StaleVersionError,
    StateConflictError,
    ThrottledError,
    TooManyAttemptsError,
)
from minitik_dagster.redaction import redact_opaque

MEDIA_TYPE: Final = "application/problem+json"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ProblemType:
    """A kind of problem: its slug (the end of `type`), its HTTP status and its title."""

    slug: str
    status: int
    title: str


INVALID_INPUT: Final = ProblemType("invalid-input", 400, "The request holds an invalid value")
INVALID_HOST: Final = ProblemType("invalid-host", 400, "This server does not answer for that host")
UNAUTHORIZED: Final = ProblemType("unauthorized", 401, "Valid credentials are needed")
FORBIDDEN: Final = ProblemType("forbidden", 403, "The credentials do not allow this")
NOT_FOUND: Final = ProblemType("not-found", 404, "Not there, or not yours")
METHOD: Final = ProblemType("method-not-allowed", 405, "The path does not know this method")
CONFLICT: Final = ProblemType("state-conflict", 409, "The present state forbids this")
STALE: Final = ProblemType("precondition-failed", 412, "It has changed since it was read")
TOO_LARGE: Final = ProblemType("body-too-large", 413, "The request's body is too large")
REFUSED: Final = ProblemType("rule-refused", 422, "Well-formed, but a rule refuses it")
NOT_CONNECTED: Final = ProblemType("not-connected", 422, "The account was not connected")
THROTTLED: Final = ProblemType("throttled", 429, "Too many calls for now")
INTERNAL: Final = ProblemType("internal", 500, "The server failed; nothing was changed")
PLATFORM: Final = ProblemType("platform", 502, "The platform refused or did not answer")
DOWN: Final = ProblemType("dependency-down", 503, "A server we need does not answer")
SCHEMA: Final = ProblemType("schema-mismatch", 503, "The database has another schema version")
MISCONFIGURED: Final = ProblemType("misconfigured", 503, "The server's configuration is unfit")
PROBLEM_TYPES: Final = (
    INVALID_INPUT, INVALID_HOST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, METHOD, CONFLICT, STALE, TOO_LARGE,
    REFUSED, NOT_CONNECTED, THROTTLED, INTERNAL, PLATFORM, DOWN, SCHEMA, MISCONFIGURED,
)  # fmt: skip

# The first row whose class fits decides.
_TYPE_OF: Final[tuple[tuple[type[MinitikError], ProblemType], ...]] = (
    (InvalidInputError, INVALID_INPUT),
    (CredentialsError, UNAUTHORIZED),
    (SignatureRefusedError, UNAUTHORIZED),
    (ForbiddenError, FORBIDDEN),
    (NotFoundError, NOT_FOUND),
    (StateConflictError, CONFLICT),
    (LeaseLostError, CONFLICT),
    (StaleVersionError, STALE),
    (RuleRefusedError, REFUSED),
    (NotConnectedError, NOT_CONNECTED),
    (ThrottledError, THROTTLED),
    (TooManyAttemptsError, THROTTLED),
    (PlatformError, PLATFORM),
    (DependencyDownError, DOWN),
    (SchemaVersionError, SCHEMA),
    (ConfigurationError, MISCONFIGURED),
    (VaultError, MISCONFIGURED),
)
_RETRY_SECONDS: Final = 5


def problem_type_of(error: MinitikError) -> ProblemType:
    """Return how an error of ours is told over HTTP; what has no row is internal."""
    return next((kind for cls, kind in _TYPE_OF if isinstance(error, cls)), INTERNAL)


def problem_body(
    kind: ProblemType,
    detail: str,
    *,
    instance: str,
    request_id: str,
    errors: Sequence[FieldProblem] = (),
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a problem as JSON holds it: what it repeats of the request holds no credential."""
    told = redact_opaque(detail)
    return {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": told,
        "instance": redact_opaque(instance),
        "errors": [_told(problem) for problem in errors],
        "error": told,
        "requestId": request_id,
        **(more or {}),
    }


def _told(problem: FieldProblem) -> dict[str, str]:
    parts = {"field": problem.field, "message": problem.message, "fix": problem.fix}
    return {name: redact_opaque(part) for name, part in parts.items()}


def request_id_of(request: Request) -> str:
    """Return the id that the request's boundary gave it."""
    return str(getattr(request.state, "request_id", ""))


def _answer(
    request: Request,
    kind: ProblemType,
    detail: str,
    errors: Sequence[FieldProblem] = (),
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    body = problem_body(
        kind,
        detail,
        instance=request.url.path,
        request_id=request_id_of(request),
        errors=errors,
        more=more,
    )
    return _sent(body, headers or {})


def _sent(body: Mapping[str, Any], headers: Mapping[str, str]) -> JSONResponse:
    """A problem as an answer, which no cache keeps.

    What was refused may be granted at the next try, and a callback's URL is nobody's to keep.
    """
    kept_out = {"Cache-Control": "no-store", **headers}
    return JSONResponse(body, body["status"], headers=kept_out, media_type=MEDIA_TYPE)


def _detail_of(error: MinitikError, problems: Sequence[FieldProblem]) -> str:
    """The first problem's own words, so that the old `error` string reads as it did."""
    if not problems:
        return str(error)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0].message}{more}"


async def _on_domain_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MinitikError)
    body, headers = problem_of(error, instance=request.url.path, request_id=request_id_of(request))
    return _sent(body, headers)


def problem_of(
    error: MinitikError, *, instance: str, request_id: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return an error of ours as a problem, and the headers of an answer that is it."""
    kind = problem_type_of(error)
    problems: Sequence[FieldProblem] = getattr(error, "problems", ())
    if isinstance(error, ConfigurationError):
        problems = ()
    more: dict[str, Any] = {}
    headers: dict[str, str] = {}
    detail = _detail_of(error, problems)
    if isinstance(error, StateConflictError):
        more["state"] = error.state
    elif isinstance(error, CredentialsError):
        headers["WWW-Authenticate"] = 'Bearer realm="minitik"'
    elif isinstance(error, SignatureRefusedError):
        headers["WWW-Authenticate"] = "TikTok-Signature"
    elif isinstance(error, DependencyDownError):
        more["dependency"] = error.dependency
        headers["Retry-After"] = str(_RETRY_SECONDS)
    elif isinstance(error, TooManyAttemptsError):
        headers["Retry-After"] = str(max(1, ceil(error.retry_after.total_seconds())))
        more["nextAllowedAt"] = iso_z(datetime.now(UTC) + error.retry_after)
    elif isinstance(error, NotConnectedError):
        detail, more["code"] = error.reason, error.code
        problems = (FieldProblem("account", error.reason, error.fix),)
    elif isinstance(error, PlatformError):
        detail = error.reason
        if isinstance(error, ThrottledError):
            headers["Retry-After"] = str(_seconds_until(error))
    elif kind is INTERNAL:
        _log.error("request.failed", error=type(error).__name__, request_id=request_id)
        detail = "an unexpected error; tell the operator the requestId"
    body = problem_body(
        kind, detail, instance=instance, request_id=request_id, errors=problems, more=more
    )
    return body, headers


def _seconds_until(error: ThrottledError) -> int:
    if error.until is not None:
        return max(1, ceil((error.until - datetime.now(UTC)).total_seconds()))
    return max(1, ceil(error.retry_after.total_seconds())) if error.retry_after else _RETRY_SECONDS


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = problems_of(error.errors())
    first = problems[0]
    detail = f"{first.field}: {first.message}"
    if len(problems) > 1:
        detail += f" (and {len(problems) - 1} more)"
    return _answer(request, INVALID_INPUT, detail, problems)


def _methods_of(request: Request) -> list[str]:
    """Every method of a path: the router itself names those of the first route that fits alone."""
    paths = request.app.openapi()["paths"]
    if request.url.path in paths:
        return sorted(method.upper() for method in paths[request.url.path])
    found: set[str] = set()
    for template, operations in paths.items():
        if compile_path(template)[0].match(request.url.path):
            found |= {method.upper() for method in operations}
    return sorted(found)


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    known = {
        kind.status: kind
        for kind in PROBLEM_TYPES
        if kind not in {INVALID_HOST, NOT_CONNECTED, SCHEMA}
    }
    kind = known.get(error.status_code)
    if kind is None:
        status = HTTPStatus(error.status_code)
        kind = ProblemType(status.phrase.lower().replace(" ", "-"), status, status.phrase)
    detail = str(error.detail)
    headers = dict(error.headers or {})
    errors: tuple[FieldProblem, ...] = ()
    if kind is NOT_FOUND:
        detail = f"no such path: {request.url.path}"
    elif kind is METHOD:
        detail = f"{request.method} is not known here; see /docs"
        if methods := _methods_of(request):
            headers["Allow"] = ", ".join(methods)
    elif kind is INVALID_INPUT:
        # What FastAPI says of a body that is not text at all.
        errors = (FieldProblem("body", "is not JSON text", "send a JSON object in UTF-8"),)
        detail = "body: is not JSON text"
    return _answer(request, kind, detail, errors, headers=headers)


async def _on_database_down(request: Request, error: Exception) -> JSONResponse:
    _log.warning(
        "database.unavailable", error=type(error).__name__, request_id=request_id_of(request)
    )
    return _answer(
        request,
        DOWN,
        "PostgreSQL does not answer; nothing was changed, try again",
        more={"dependency": "postgresql"},
        headers={"Retry-After": str(_RETRY_SECONDS)},
    )


def install_handlers(app: FastAPI) -> None:
    """Register the handlers; what none of them knows ends in the request boundary as a 500."""
    app.add_exception_handler(MinitikError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    for down in (OperationalError, InterfaceError, PoolTimeoutError):
        app.add_exception_handler(down, _on_database_down)

"""The HTTP API as an uploading program sees it: one method per call, problems raised as errors.

Everything here is plain HTTP; a program in another language needs the same few calls (docs/uploads.md).
"""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import httpx2
from pydantic import SecretStr

from minitik_dagster.errors import (
    DependencyDownError,
    FieldProblem,
    InvalidInputError,
    MinitikError,
    NotFoundError,
    RuleRefusedError,
    StateConflictError,
)

# Completing probes the video: up to 30 s, and longer while others wait for the same.
_TIMEOUT: Final = httpx2.Timeout(30, read=180)
# An API that is restarted is waited for: 1, 2, 4, 8, 8, ... seconds, a minute in all.
_PAUSES: Final = (1, 2, 4, 8, 8, 8, 8, 8, 8)
_PASSING: Final = frozenset({429, 500, 502, 503, 504})


class AnswerError(MinitikError):
    """The API refused for a reason that this program cannot act on."""


class ApiClient:
    """Calls of `/api/content` with one key. Temporary failures are repeated for about a minute.

    Repeating is safe: beginning carries an Idempotency-Key, every other call may be sent twice.
    """

    def __init__(self, url: str, key: SecretStr, *, pauses: Sequence[float] | None = None) -> None:
        self.url = url.rstrip("/")
        self._pauses = _PAUSES if pauses is None else pauses
        self._http = httpx2.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key.get_secret_value()}"},
            timeout=_TIMEOUT,
            follow_redirects=False,  # the key goes to this server alone
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def begin(self, announced: Mapping[str, Any], once: str) -> dict[str, Any]:
        """`POST /api/content`: announce a file; the same `once` begins once in 24 hours."""
        return self._call("POST", "/api/content", announced, {"Idempotency-Key": once})

    def resume(self, content_id: str) -> dict[str, Any]:
        """`GET …/resume`: which parts have arrived, and fresh URLs for the others."""
        return self._call("GET", f"/api/content/upload/{content_id}/resume")

    def confirm(self, content_id: str, number: int, etag: str) -> None:
        """`PUT …/chunk/{n}`: tell that a part was sent, and what the storage calls it."""
        self._call("PUT", f"/api/content/upload/{content_id}/chunk/{number}", {"etag": etag})

    def complete(self, content_id: str) -> dict[str, Any]:
        """`POST …/complete`: have the parts assembled and the video checked."""
        return self._call("POST", f"/api/content/upload/{content_id}/complete")

    def abort(self, content_id: str) -> None:
        """`DELETE …/abort`: drop the upload and its parts."""
        self._call("DELETE", f"/api/content/upload/{content_id}/abort")

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        for pause in (*self._pauses, None):
            failure = "it does not answer"
            try:
                answer = self._http.request(method, path, json=body, headers=dict(headers or {}))
            except httpx2.TransportError as error:
                failure = f"it does not answer ({type(error).__name__})"
            else:
                if answer.is_success:
                    return _json(answer)
                if answer.status_code not in _PASSING:
                    raise _refusal(answer)
                failure = _json(answer).get("detail") or f"it answered {answer.status_code}"
            if pause is not None:
                time.sleep(pause)
        raise DependencyDownError("api", f"{self.url}: {failure}; run the same command again later")


def _json(answer: httpx2.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    if answer.is_success:
        raise AnswerError(f"{answer.url.host} answers without JSON: is this minitik's API?")
    return {}


def _refusal(answer: httpx2.Response) -> MinitikError:
    """Say a problem (RFC 9457) as the error it came from."""
    problem = _json(answer)
    detail = str(problem.get("detail") or f"HTTP {answer.status_code}")
    fields = [
        FieldProblem(str(e.get("field")), str(e.get("message")), str(e.get("fix", "")))
        for e in problem.get("errors") or []
    ]
    match answer.status_code:
        case 404:
            return NotFoundError(detail)
        case 409:
            return StateConflictError(detail, state=str(problem.get("state", "")))
        case 400 if fields:
            return InvalidInputError(*fields)
        case 422 if fields:
            return RuleRefusedError(*fields)
        case 401 | 403:
            return AnswerError(f"{detail} (MINITIK_API_KEY)")
        case _:
            return AnswerError(f"the API answered {answer.status_code}: {detail}")

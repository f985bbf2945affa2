"""A request's lines in the log: what it changed, said once it has succeeded, and how it ended.

Every line of ours that is written while a request is served has its `request_id`.
"""

from contextvars import ContextVar
from typing import Any, Final

import structlog
from starlette.types import Scope

from minitik_dagster.clock import iso_z
from minitik_dagster.db.models import Publication

_log = structlog.get_logger(__name__)
# What changes nothing is not worth a line, unless it failed.
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_changes: ContextVar[list[dict[str, Any]] | None] = ContextVar("changes", default=None)


def begin() -> None:
    """Begin a request's list of changes."""
    _changes.set([])


def scheduled(publications: tuple[Publication, ...]) -> None:
    """Remember that these were scheduled; said when the answer is a success, which is after the commit."""
    changes = _changes.get()
    if changes is not None:
        changes += [
            {
                "event": "publication.scheduled",
                "publication": item.id,
                "platform": item.platform.value.lower(),
                "content": item.content_id,
                "due": iso_z(item.due_at) if item.due_at else None,
            }
            for item in publications
        ]


def route_of(scope: Scope) -> str | None:
    """Return a request's route as it is written in the code; None of one that led nowhere.

    Its path and its query may hold what does not belong there: a key pasted into an address.
    """
    path = getattr(scope.get("route"), "path", None)
    return str(path) if path is not None else None


def ended(scope: Scope, status: int, seconds: float) -> None:
    """Say what was changed, then how the request ended."""
    method = scope["method"]
    for change in (_changes.get() or ()) if status < 400 else ():
        _log.info(**change)
    if method not in _READS or status >= 500:
        _log.info(
            "request.done",
            method=method,
            route=route_of(scope),
            status=status,
            ms=round(seconds * 1000, 1),
        )

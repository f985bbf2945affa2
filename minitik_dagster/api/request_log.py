"""A request's lines in the log: what it changed, said once it has succeeded, and how it ended.

Every line of ours that is written while a request is served has its `request_id`.
"""

from contextvars import ContextVar
from typing import Any, Final

import structlog

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


def ended(method: str, path: str, status: int, seconds: float) -> None:
    """Say what was changed, then how the request ended; never its query, which may hold codes."""
    for change in (_changes.get() or ()) if status < 400 else ():
        _log.info(**change)
    if method not in _READS or status >= 500:
        _log.info(
            "request.done", method=method, path=path, status=status, ms=round(seconds * 1000, 1)
        )

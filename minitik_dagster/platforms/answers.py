"""A platform's answer as plain values, and how a call is named in errors: scheme and host only."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit


def redacted(url: str) -> str:
    """Return `scheme://host` of a URL: paths and queries may carry credentials (engine.md R12)."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or "?"
    except ValueError:
        return "an unreadable URL"
    return f"{parts.scheme or '?'}://{host}"


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, read to its end. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def json(self) -> dict[str, Any]:
        """The JSON object in the body; empty where the body is anything else."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def retry_after(self, now: datetime) -> timedelta | None:
        """Return the wait that Retry-After asks for (seconds or an HTTP date), if it is readable."""
        text = self.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return timedelta(seconds=min(int(text), 86_400))
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(moment - now, timedelta(0))


def dig(value: Any, *path: str | int) -> Any:
    """Follow keys and indexes into JSON; None where anything on the way is missing."""
    for key in path:
        if isinstance(key, str) and isinstance(value, dict):
            value = value.get(key)
        elif isinstance(key, int) and isinstance(value, list) and len(value) > key:
            value = value[key]
        else:
            return None
    return value


def whole_number(value: Any) -> int | None:
    """Read a counter that may come as a number or as text (Google writes unsigned longs as text)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return None

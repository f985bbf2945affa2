"""Time as the domain sees it: aware UTC instants from an injected clock."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the domain asks what time it is; tests pass one they can move."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        ...


class SystemClock:
    """The machine's own clock: for display and expiry, never for claims (PostgreSQL's)."""

    def now(self) -> datetime:
        """Return the machine's present instant in UTC."""
        return datetime.now(UTC)


class MovableClock:
    """A clock that stands where it was put: for tests."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """Return the instant the clock was last put to."""
        return self._now

    def move_to(self, instant: datetime) -> None:
        """Put the clock to `instant` (aware)."""
        self._now = instant


def boottime() -> float:
    """Seconds since boot, suspend included: the monotonic clock stops in suspend (engine.md R4)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def iso_z(instant: datetime) -> str:
    """Write an instant as the HTTP contract does: ISO 8601, UTC, milliseconds, `Z`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + (
        f"{instant.microsecond // 1000:03d}Z"
    )

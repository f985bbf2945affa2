"""From where a dispatcher's next look at the queue has to begin.

A look from the beginning finds everything that can be claimed. After it only wakes of a later time can be
new, but for two: what was scheduled for at once (it is notified), and what another dispatcher lost. So most
looks begin at the last one from the beginning, and one a second begins there again: the cost of most looks
does not grow with what was carried since the oldest open transaction (benchmarks/held_transaction.py).
"""

from datetime import datetime, timedelta
from typing import Final

# Without a notification a row of an old wake waits so long at the most.
WHOLE_EVERY: Final = timedelta(seconds=1)
# Many notifications in a row do not make every look a whole one.
_NOTIFIED_EVERY: Final = timedelta(milliseconds=250)
# For what was being committed while the last whole look was taken, and for the clock's error.
_MARGIN: Final = timedelta(seconds=2)


class Lookout:
    """Remembers the last whole look; asked before each look."""

    def __init__(self) -> None:
        self._whole_at: datetime | None = None

    def since(self, now: datetime, *, notified: bool) -> datetime | None:
        """Return the earliest wake that a look at `now` has to consider; None: from the beginning."""
        last = self._whole_at
        every = _NOTIFIED_EVERY if notified else WHOLE_EVERY
        if last is None or now - last >= every:
            self._whole_at = now
            return None
        return last - _MARGIN

    def not_all(self) -> None:
        """The look could not take all it found: the next one is from the beginning."""
        self._whole_at = None

    def pause(self, longest: timedelta, now: datetime, *, notified: bool) -> timedelta:
        """Shorten a pause so that a notification is heeded as soon as a whole look may be taken."""
        if not notified or self._whole_at is None:
            return longest
        return min(longest, max(self._whole_at + _NOTIFIED_EVERY - now, timedelta(0)))

"""Parts in flight at different depths, so that a kill at any moment costs little."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stoppage(Exception):  # noqa: N818 - no error: somebody else's ended the work
    """Another part's failure, or the person, ended the upload."""


class Stagger:
    """Lets `lanes` parts travel at once, each one further ahead than the one that began after it.

    Of `n` parts in flight the oldest may be sent whole, the next up to (n-1)/n of it, and so on: in a
    steady state every lane is busy all the time, and yet what is sent and not confirmed is less than
    (n + 1) / 2 parts: that much is sent again after a kill, 1.5 parts with two lanes.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._flying: list[int] = []  # the oldest first
        self._turn = threading.Condition()
        self._stopped = False

    @contextmanager
    def flight(self, number: int) -> Iterator[None]:
        """Part `number` is under way: from its first byte until it is confirmed, or has failed."""
        with self._turn:
            self._flying.append(number)
        try:
            yield
        finally:
            with self._turn:
                self._flying.remove(number)
                self._turn.notify_all()

    def wait(self, number: int, share: float) -> None:
        """Wait until `share` (0 to 1) of part `number` may have been sent; Stoppage when it is over."""
        with self._turn:
            self._turn.wait_for(lambda: self._stopped or self.may(number, share))
            if self._stopped:
                raise Stoppage

    def stop(self) -> None:
        """End it: every wait raises Stoppage."""
        with self._turn:
            self._stopped = True
            self._turn.notify_all()

    def may(self, number: int, share: float) -> bool:
        """Whether `share` of part `number`, which is in flight, may have been sent now."""
        behind = self._flying.index(number)
        return behind == 0 or share < 1 - behind / self._lanes

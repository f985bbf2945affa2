"""What the API process does beside its requests: each piece of work in a thread of its own, in turns.

One class owns what they have in common: the thread and its end, the pause between turns, being woken, and
what is said of a database that is away and of a defect. The work itself knows nothing of it.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError

from minitik_dagster.settings import Settings

_log = structlog.get_logger(__name__)
_STOP_SECONDS: Final = 5.0
Ending = Callable[[], bool]


class Work(ABC):
    """One piece of work. `name` is its thread's; `defect` is the line about a fault of ours.

    `first` is the pause before the first turn, `every` the one after each. `down` and `back` are the
    lines about a database that is away and is back; None where others tell it.
    """

    name: str
    defect: str
    every: timedelta
    first: timedelta = timedelta(0)
    down: str | None = None
    back: str | None = None

    @abstractmethod
    def turn(self, ending: Ending) -> None:
        """Work once; what takes longer looks at `ending`.

        Raises DBAPIError where the database is away. Anything else that it raises is a defect.
        """

    def hurry(self) -> None:  # noqa: B027 - most work has nothing that waits
        """Told from another thread that `ending` has become true: a turn that waits comes to its end."""


class Background:
    """Does one piece of work from the application's start to its end."""

    def __init__(self, settings: Settings, work: Work) -> None:
        self._settings = settings
        self._work = work
        self._woken = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._down = False

    def start(self) -> None:
        """Begin, unless no database is configured."""
        if self._settings.database_url is None:
            return
        self._thread = threading.Thread(target=self._run, name=self._work.name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Take the next turn now."""
        self._woken.set()

    def stop(self) -> None:
        """End; a turn under way is waited for a few seconds."""
        self._ending.set()
        self._woken.set()
        self._work.hurry()
        if self._thread is not None:
            self._thread.join(timeout=_STOP_SECONDS)

    def turn(self) -> None:
        """Take one turn. A database that is away is said once, and once when it is back."""
        work = self._work
        try:
            work.turn(self._ending.is_set)
        except DBAPIError as error:
            if not self._down and work.down is not None:
                _log.warning(work.down, reason=type(error.orig).__name__)
            self._down = True
        except Exception:
            # A defect of ours must not end the work silently.
            _log.exception(work.defect)
        else:
            if self._down and work.back is not None:
                _log.warning(work.back)
            self._down = False

    def _run(self) -> None:
        pause = self._work.first
        while True:
            self._woken.wait(pause.total_seconds())
            self._woken.clear()
            if self._ending.is_set():
                return
            self.turn()
            pause = self._work.every

"""The API process sends web push messages itself, and queues what a sweep finds, in a thread of its own.

Apart from e-mail (api.notices): a slow push service delays no sign-in link.
"""

import threading
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError

from minitik_dagster.api.state import ApiState
from minitik_dagster.notifications.catch_up import queue_published
from minitik_dagster.notifications.push import PushSender
from minitik_dagster.notifications.reminders import remind

_log = structlog.get_logger(__name__)
SWEEP_EVERY: Final = timedelta(seconds=5)
_SWEEPS_BETWEEN_REMINDERS: Final = 12  # a minute


class PushPost:
    """Sends what waits for browsers from the application's start to its end."""

    def __init__(self, state: ApiState, every: timedelta | None = None) -> None:
        self._state = state
        self._every = every or SWEEP_EVERY
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._down = False

    def start(self) -> None:
        """Begin, unless no database is configured."""
        if self._state.settings.database_url is None:
            return
        self._thread = threading.Thread(target=self._run, name="push", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what is under way is sent again by whoever comes next."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        sender = PushSender(self._state.engine, self._state.settings)
        sweeps = 0
        while not self._ending.is_set():
            try:
                if sweeps % _SWEEPS_BETWEEN_REMINDERS == 0:
                    with self._state.engine.begin() as connection:
                        queue_published(connection)
                        remind(connection)
                while sender.work() and not self._ending.is_set():
                    pass
                self._down = False
            except DBAPIError as error:
                if not self._down:
                    _log.warning("push.database_down", reason=type(error.orig).__name__)
                self._down = True
            except Exception:
                # A defect of ours must not end the sending silently.
                _log.exception("push.defect")
            sweeps += 1
            self._ending.wait(self._every.total_seconds())

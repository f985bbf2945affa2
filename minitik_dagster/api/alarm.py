"""The API process's own watch over the queue: needs neither Dagster nor a dispatcher."""

import threading
from datetime import timedelta

import structlog
from sqlalchemy.exc import DBAPIError

from minitik_dagster.api.state import ApiState
from minitik_dagster.notifications.alert_post import AlertPost
from minitik_dagster.operations import alerts
from minitik_dagster.publishing import alarm

_log = structlog.get_logger(__name__)
LOOK_EVERY = timedelta(seconds=15)


class AlarmWatch:
    """Looks every 15 s in a thread of its own, from the application's start to its end.

    A database that does not answer is said once, and once again when it does.
    """

    def __init__(self, state: ApiState, every: timedelta | None = None) -> None:
        self._state = state
        self._every = every or LOOK_EVERY
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._down = False

    def start(self) -> None:
        """Begin, unless no database is configured."""
        if self._state.settings.database_url is None:
            return
        self._thread = threading.Thread(target=self._watch, name="alarm-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; a look under way is waited for a few seconds."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def look(self) -> None:
        """Look once."""
        try:
            with self._state.engine.begin() as connection:
                alarm.look(connection)
            with self._state.engine.begin() as connection:
                alerts.look(connection, self._state.settings)
            AlertPost(self._state.engine, self._state.settings).work()
        except DBAPIError as error:
            if not self._down:
                _log.warning("alarm.blind", reason=type(error.orig).__name__)
            self._down = True
            return
        if self._down:
            _log.warning("alarm.sees_again")
        self._down = False

    def _watch(self) -> None:
        while not self._ending.wait(self._every.total_seconds()):
            try:
                self.look()
            except Exception:
                # A defect of ours must not end the watch silently.
                _log.exception("alarm.defect")

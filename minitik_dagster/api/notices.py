"""The API process sends notices itself: at once when it has queued one, and in a sweep besides."""

import threading
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from minitik_dagster.accounts.attempts import forget_attempts
from minitik_dagster.accounts.sessions import forget_sessions
from minitik_dagster.accounts.sign_in import forget_links
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.api.state import ApiState
from minitik_dagster.notifications.events import forget_events
from minitik_dagster.notifications.sender import NoticeSender

_log = structlog.get_logger(__name__)
SWEEP_EVERY: Final = timedelta(seconds=5)
_SWEEPS_BETWEEN_CLEANING: Final = 720  # an hour


class NoticePost:
    """Sends what lies in the outbox in a thread of its own; `wake` makes it look at once.

    What has ended (links, sessions, counted attempts, events) is deleted there each hour.
    """

    def __init__(self, state: ApiState, every: timedelta | None = None) -> None:
        self._state = state
        self._every = every or SWEEP_EVERY
        self._woken = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None
        self._down = False

    def start(self) -> None:
        """Begin, unless no database is configured."""
        if self._state.settings.database_url is None:
            return
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look now: something was queued and committed."""
        self._woken.set()

    def stop(self) -> None:
        """End; a message under way is waited for a few seconds."""
        self._ending = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        sender = NoticeSender(self._state.engine, self._state.settings, self._unseal)
        sweeps = 0
        while not self._ending:
            self._woken.clear()
            try:
                if sweeps % _SWEEPS_BETWEEN_CLEANING == 0:
                    self._clean()
                while sender.work() and not self._ending:
                    pass
                self._down = False
            except DBAPIError as error:
                if not self._down:
                    _log.warning("notices.database_down", reason=type(error.orig).__name__)
                self._down = True
            except Exception:
                # A defect of ours must not end the sending silently.
                _log.exception("notices.defect")
            sweeps += 1
            self._woken.wait(self._every.total_seconds())

    def _unseal(self, sealed: str) -> str:
        return Vault.from_settings(self._state.settings).open(sealed)

    def _clean(self) -> None:
        with Session(self._state.engine) as session, session.begin():
            forget_attempts(session)
            forget_links(session)
            forget_sessions(session)
        forgotten = 1
        while forgotten and not self._ending:
            with Session(self._state.engine) as session, session.begin():
                forgotten = forget_events(session)

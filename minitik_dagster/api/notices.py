"""The API process sends notices itself: at once when it has queued one, and in a sweep besides."""

from datetime import timedelta
from typing import Final

from sqlalchemy.orm import Session

from minitik_dagster.accounts.attempts import forget_attempts
from minitik_dagster.accounts.sessions import forget_sessions
from minitik_dagster.accounts.sign_in import forget_links
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.api.background import Ending, Work
from minitik_dagster.api.state import ApiState
from minitik_dagster.db.instance import is_ours
from minitik_dagster.notifications.events import forget_events
from minitik_dagster.notifications.sender import NoticeSender

SWEEP_EVERY: Final = timedelta(seconds=5)
_SWEEPS_BETWEEN_CLEANING: Final = 720  # an hour


class NoticePost(Work):
    """Sends what lies in the outbox.

    What has ended (links, sessions, counted attempts, events) is deleted here each hour, by the
    deployment that the database belongs to.
    """

    name, defect = "notices", "notices.defect"
    down, back = "notices.database_down", "notices.database_back"

    def __init__(self, state: ApiState) -> None:
        self._state = state
        self.every = SWEEP_EVERY
        self._sweeps = 0

    def turn(self, ending: Ending) -> None:
        """Send all that is due; clean up once an hour."""
        with self._state.engine.connect() as connection:
            ours = is_ours(connection, self._state.settings)
        if ours and self._sweeps % _SWEEPS_BETWEEN_CLEANING == 0:
            self._clean(ending)
        self._sweeps += 1
        sender = NoticeSender(self._state.engine, self._state.settings, self._unseal)
        while sender.work() and not ending():
            pass

    def _unseal(self, sealed: str) -> str:
        return Vault.from_settings(self._state.settings).open(sealed)

    def _clean(self, ending: Ending) -> None:
        with Session(self._state.engine) as session, session.begin():
            forget_attempts(session)
            forget_links(session)
            forget_sessions(session)
        forgotten = 1
        while forgotten and not ending():
            with Session(self._state.engine) as session, session.begin():
                forgotten = forget_events(session)

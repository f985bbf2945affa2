"""The API process sends web push messages itself, and queues what a sweep finds.

Apart from e-mail (api.notices): a slow push service delays no sign-in link.
"""

from datetime import timedelta
from typing import Final

from minitik_dagster.api.background import Ending, Work
from minitik_dagster.api.state import ApiState
from minitik_dagster.db.instance import is_ours
from minitik_dagster.notifications.catch_up import queue_published
from minitik_dagster.notifications.push import PushSender
from minitik_dagster.notifications.reminders import remind

SWEEP_EVERY: Final = timedelta(seconds=5)
_SWEEPS_BETWEEN_REMINDERS: Final = 12  # a minute


class PushPost(Work):
    """Sends what waits for browsers; what it leaves under way is sent again by whoever comes next."""

    name, defect = "push", "push.defect"
    down, back = "push.database_down", "push.database_back"

    def __init__(self, state: ApiState) -> None:
        self._state = state
        self.every = SWEEP_EVERY
        self._sweeps = 0

    def turn(self, ending: Ending) -> None:
        """Queue what is to be told, once a minute; send all that is due."""
        with self._state.engine.connect() as connection:
            if not is_ours(connection, self._state.settings):
                return
        if self._sweeps % _SWEEPS_BETWEEN_REMINDERS == 0:
            with self._state.engine.begin() as connection:
                queue_published(connection)
                remind(connection)
        self._sweeps += 1
        sender = PushSender(self._state.engine, self._state.settings)
        while sender.work() and not ending():
            pass

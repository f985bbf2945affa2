"""The API process's own watch over the queue: needs neither Dagster nor a dispatcher."""

from datetime import timedelta
from typing import Final

import structlog

from minitik_dagster.api.background import Ending, Work
from minitik_dagster.api.state import ApiState
from minitik_dagster.db.instance import not_ours
from minitik_dagster.notifications.alert_post import AlertPost
from minitik_dagster.operations import alerts, servers
from minitik_dagster.publishing import alarm

_log = structlog.get_logger(__name__)
LOOK_EVERY: Final = timedelta(seconds=15)


class AlarmWatch(Work):
    """Looks every 15 s."""

    name, defect = "alarm", "alarm.defect"
    down, back = "alarm.blind", "alarm.sees_again"

    def __init__(self, state: ApiState) -> None:
        self._state = state
        self.first = self.every = LOOK_EVERY
        self._idle: str | None = None

    def turn(self, _ending: Ending) -> None:
        """Look once, unless it is another deployment's database; that is said once."""
        with self._state.engine.connect() as connection:
            reason = not_ours(connection, self._state.settings)
        if reason != self._idle:
            if reason is None:
                _log.warning("deployment.awake")
            else:
                _log.warning("deployment.idle", reason=reason)
        self._idle = reason
        if reason is not None:
            return
        with self._state.engine.begin() as connection:
            alarm.look(connection)
        asked = servers.ask(self._state.settings, lambda: self._state.object_store)
        with self._state.engine.begin() as connection:
            alerts.look(connection, self._state.settings, asked=asked)
        AlertPost(self._state.engine, self._state.settings).work()

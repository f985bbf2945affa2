"""The API process tells by itself that PostgreSQL is away, when nothing else can."""

from datetime import timedelta
from typing import Final

from sqlalchemy.exc import InterfaceError, OperationalError

from minitik_dagster.api.background import Ending, Work
from minitik_dagster.api.state import ApiState
from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.instance import not_ours
from minitik_dagster.operations.database_away import KEY, DatabaseAway
from minitik_dagster.operations.thresholds import thresholds

ASK_EVERY: Final = timedelta(seconds=10)


class DatabaseWatch(Work):
    """Asks every 10 s, on a connection of its own: a server that hangs would keep one of the pool's.

    A preview tells nothing; whether it is one is remembered from when the database was there.
    """

    name, defect = "database", "database.defect"

    def __init__(self, state: ApiState, away: DatabaseAway | None = None) -> None:
        self._state = state
        self._away = away or DatabaseAway(state.settings.alert_urls())
        self._is_ours = state.settings.minitik_dispatch == "on"
        self.every = ASK_EVERY

    def turn(self, _ending: Ending) -> None:
        """Ask once, tell what is to be told, and write down what is over."""
        settings = self._state.settings
        engine = make_engine(settings.require_database_url(), pool_size=1, max_overflow=0)
        try:
            with engine.begin() as connection:
                self._is_ours = not_ours(connection, settings) is None
                self._away.threshold = thresholds(connection)[KEY]
                if self._is_ours:
                    self._away.write(connection)
            self._away.forget()
        except (OperationalError, InterfaceError) as error:
            if self._is_ours:
                self._away.away(type(error.orig).__name__)
        finally:
            engine.dispose()

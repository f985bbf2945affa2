"""The API process mirrors the epoch too: where no dispatcher lives, a restore is noticed all the same."""

from contextlib import suppress
from datetime import timedelta

from minitik_dagster.api.background import Ending, Work
from minitik_dagster.api.state import ApiState
from minitik_dagster.db.instance import is_ours
from minitik_dagster.db.migrate import require_schema
from minitik_dagster.errors import DependencyDownError, SchemaVersionError
from minitik_dagster.publishing import epochs


class EpochWatch(Work):
    """Looks once a minute, apart from the alarm: a bucket that hangs keeps no alarm waiting.

    What is down is told by the dispatchers and the alarm; this watch goes on in silence.
    """

    name, defect = "epoch", "epoch.defect"
    # Before the alarm's first look, which would take a long stop of everything for a bucket that is away.
    first = timedelta(seconds=5)
    every = epochs.EVERY

    def __init__(self, state: ApiState) -> None:
        self._state = state

    def turn(self, _ending: Ending) -> None:
        """Look once, where a bucket is configured."""
        if self._state.settings.aws_s3_bucket:
            with suppress(DependencyDownError, SchemaVersionError):
                self.look()

    def look(self) -> None:
        """Look once, unless another deployment publishes from this database.

        Raises DependencyDownError, SchemaVersionError or DBAPIError where it cannot.
        """
        with self._state.engine.connect() as connection:
            require_schema(connection)
            if not is_ours(connection, self._state.settings):
                return
        epochs.keep(self._state.engine.begin, self._state.object_store)

"""The API process mirrors the epoch too: where no dispatcher lives, a restore is noticed all the same."""

import threading
from datetime import timedelta

import structlog
from sqlalchemy.exc import DBAPIError

from minitik_dagster.api.state import ApiState
from minitik_dagster.db.migrate import require_schema
from minitik_dagster.errors import DependencyDownError, SchemaVersionError
from minitik_dagster.publishing import epochs
from minitik_dagster.publishing.admission import is_ours

_log = structlog.get_logger(__name__)
# Before the alarm's first look, which would take a long stop of everything for a bucket that is away.
_FIRST = timedelta(seconds=5)


class EpochWatch:
    """Looks once a minute in a thread of its own: a bucket that hangs keeps no alarm waiting.

    What is down is told by the dispatchers and the alarm; this watch goes on in silence.
    """

    def __init__(self, state: ApiState) -> None:
        self._state = state
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, where a database and a bucket are configured."""
        settings = self._state.settings
        if settings.database_url is None or not settings.aws_s3_bucket:
            return
        self._thread = threading.Thread(target=self._watch, name="epoch-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; a look under way is waited for a few seconds."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def look(self) -> None:
        """Look once, unless another deployment publishes from this database.

        Raises DependencyDownError, SchemaVersionError or DBAPIError where it cannot.
        """
        with self._state.engine.connect() as connection:
            require_schema(connection)
            if not is_ours(connection, self._state.settings):
                return
        epochs.keep(self._state.engine.begin, self._state.object_store)

    def _watch(self) -> None:
        pause = _FIRST
        while not self._ending.wait(pause.total_seconds()):
            pause = epochs.EVERY
            try:
                self.look()
            except (DBAPIError, DependencyDownError, SchemaVersionError):
                continue
            except Exception:
                # A defect of ours must not end the watch silently.
                _log.exception("epoch.defect")

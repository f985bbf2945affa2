"""What one application holds from its start to its end: settings, engine, object store."""

from functools import cached_property

from anyio import CapacityLimiter
from sqlalchemy import Engine

from minitik_dagster.analytics.cache import AnswerCache
from minitik_dagster.analytics.store import AnalyticsStore
from minitik_dagster.db.engine import make_engine, reading
from minitik_dagster.errors import ConfigurationError, DependencyDownError
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.resilience.request_rate import RequestRate
from minitik_dagster.settings import Settings

# At most 20 transactions of endpoints (dependencies.py), and who is calling. Kept once opened: what goes
# beyond a pool's size is closed after each use, and a new connection costs more than a request.
_POOL_SIZE, _POOL_OVERFLOW = 30, 0
_COMPLETIONS_AT_ONCE = 4


class ApiState:
    """The application's own things, each made at its first use; `close` gives them back."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def engine(self) -> Engine:
        """The pool of connections to PostgreSQL; ConfigurationError when DATABASE_URL is not set."""
        return make_engine(
            self.settings.require_database_url(), pool_size=_POOL_SIZE, max_overflow=_POOL_OVERFLOW
        )

    @cached_property
    def reading(self) -> Engine:
        """The same pool for what only reads."""
        return reading(self.engine)

    @cached_property
    def object_store(self) -> ObjectStore:
        """The bucket; DependencyDownError where none is configured."""
        return self._bucket(None)

    @cached_property
    def asked_store(self) -> ObjectStore:
        """The bucket for whoever only asks whether it is there: one call, a second of patience."""
        return self._bucket(1.0)

    def _bucket(self, patience: float | None) -> ObjectStore:
        try:
            return ObjectStore.from_settings(self.settings, patience)
        except ConfigurationError as error:
            raise DependencyDownError("s3", str(error)) from None

    @cached_property
    def request_rate(self) -> RequestRate | None:
        """What counts requests; None where none are counted."""
        limit = self.settings.minitik_api_requests_per_minute
        url = self.settings.redis_url
        return RequestRate(url.get_secret_value() if url else None, limit) if limit else None

    @cached_property
    def analytics(self) -> AnalyticsStore:
        """The analytics database; DependencyDownError where none is configured."""
        return AnalyticsStore.from_settings(self.settings)

    @cached_property
    def answers(self) -> AnswerCache:
        """What analytics keeps for five minutes."""
        url = self.settings.redis_url
        return AnswerCache(url.get_secret_value() if url else None)

    @cached_property
    def slow_work(self) -> CapacityLimiter:
        """Turns for completing uploads; first asked for on the event loop.

        A hostile file may keep its turn for half a minute: others wait without holding one of the
        threads that every other request needs.
        """
        return CapacityLimiter(_COMPLETIONS_AT_ONCE)

    def close(self) -> None:
        """Close what was opened."""
        rate = self.__dict__.pop("request_rate", None)
        if rate is not None:
            rate.close()
        self.__dict__.pop("reading", None)
        engine = self.__dict__.pop("engine", None)
        if engine is not None:
            engine.dispose()
        for name in ("analytics", "answers"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.close()

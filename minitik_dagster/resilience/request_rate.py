"""How many requests a key or a session may make in a minute: counted in Redis, over all processes.

Redis down or not configured: each process counts by itself, and Redis is not asked for five seconds. A
minute is the same one for everybody, so what is left and when it is whole again are exact.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from minitik_dagster.errors import ConfigurationError
from minitik_dagster.resilience.connections import BAD_URL, ENGINE_TIMEOUT_SECONDS

WINDOW_SECONDS: Final = 60
_ASK_AGAIN_SECONDS: Final = 5.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Taken:
    """One request counted: how many fit in the window, how many are left, seconds until it is whole."""

    limit: int
    left: int
    seconds: int
    allowed: bool

    def headers(self) -> dict[str, str]:
        """Return the headers of the IETF's draft "RateLimit header fields for HTTP"."""
        return {
            "RateLimit-Policy": f'"default";q={self.limit};w={WINDOW_SECONDS}',
            "RateLimit": f'"default";r={self.left};t={self.seconds}',
        }


class RequestRate:
    """Counts requests; safe from any thread. `now` is in epoch seconds. ConfigurationError for a bad URL."""

    def __init__(
        self, redis_url: str | None, limit: int, now: Callable[[], float] = time.time
    ) -> None:
        self._limit = limit
        self._now = now
        self._redis = _client(redis_url) if redis_url else None
        self._down_until = 0.0
        self._lock = threading.Lock()
        self._own: dict[str, int] = {}
        self._own_window = 0

    def close(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            self._redis.close()

    def take(self, subject: str) -> Taken:
        """Count one request of `subject`; what is refused counts as well, and costs nothing more."""
        now = self._now()
        window = int(now // WINDOW_SECONDS)
        used = self._shared(f"rate_limit:api:{subject}:{WINDOW_SECONDS}:{window}")
        # Counted here too, so that an outage of Redis does not begin with an empty count.
        own = self._count_here(subject, window)
        used = own if used is None else used
        seconds = max(1, round((window + 1) * WINDOW_SECONDS - now))
        return Taken(self._limit, max(0, self._limit - used), seconds, used <= self._limit)

    def _shared(self, key: str) -> int | None:
        if self._redis is None or self._now() < self._down_until:
            return None
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.incr(key)
                pipeline.expire(key, 2 * WINDOW_SECONDS)
                used = int(pipeline.execute()[0])
        except RedisError as error:
            if self._down_until == 0.0:
                _log.warning(
                    "redis.down",
                    reason=type(error).__name__,
                    means="each process counts requests by itself",
                )
            self._down_until = self._now() + _ASK_AGAIN_SECONDS
            return None
        if self._down_until:
            _log.info("redis.up")
            self._down_until = 0.0
        return used

    def _count_here(self, subject: str, window: int) -> int:
        with self._lock:
            if window != self._own_window:
                self._own, self._own_window = {}, window
            self._own[subject] = self._own.get(subject, 0) + 1
            return self._own[subject]


def _client(redis_url: str) -> redis.Redis:
    try:
        return redis.Redis.from_url(
            redis_url,
            socket_timeout=ENGINE_TIMEOUT_SECONDS,
            socket_connect_timeout=ENGINE_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        raise ConfigurationError([BAD_URL]) from None

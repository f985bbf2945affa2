"""Answers kept for five minutes in Redis; without Redis they are made anew each time, and as right.

One hash per person, whose life begins with its first answer: nothing in it is older than five minutes.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any, Final

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from minitik_dagster.errors import ConfigurationError

_log = structlog.get_logger(__name__)
LIFE_SECONDS: Final = 300
_TIMEOUT_SECONDS: Final = 0.25


class AnswerCache:
    """A person's answers by what was asked."""

    def __init__(self, redis_url: str | None) -> None:
        self._client: redis.Redis | None = None
        if redis_url:
            try:
                self._client = redis.Redis.from_url(
                    redis_url,
                    decode_responses=True,
                    socket_timeout=_TIMEOUT_SECONDS,
                    socket_connect_timeout=_TIMEOUT_SECONDS,
                    retry=Retry(NoBackoff(), 0),
                )
            except ValueError:
                raise ConfigurationError(["REDIS_URL is no URL of a Redis"]) from None

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    def get_or_make(
        self, user_id: str, asked: tuple[str, ...], make: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return the kept answer, or make it and keep it; what `make` raises is not kept."""
        key, field = _key(user_id), hashlib.sha256("\n".join(asked).encode()).hexdigest()
        if self._client is None:
            return make()
        try:
            kept = self._client.hget(key, field)
        except RedisError as error:
            _log.warning("analytics.cache_down", reason=type(error).__name__)
            return make()
        if isinstance(kept, str):
            answer: dict[str, Any] = json.loads(kept)
            return answer
        made = make()
        try:
            with self._client.pipeline() as pipe:
                pipe.hset(key, field, json.dumps(made))
                pipe.expire(key, LIFE_SECONDS, nx=True)
                pipe.execute()
        except RedisError as error:
            _log.warning("analytics.cache_down", reason=type(error).__name__)
        return made

    def forget(self, user_id: str) -> None:
        """Drop a person's answers: their numbers have changed."""
        if self._client is not None:
            try:
                self._client.delete(_key(user_id))
            except RedisError as error:
                _log.warning("analytics.cache_down", reason=type(error).__name__)


def _key(user_id: str) -> str:
    return f"analytics_cache:{user_id}"

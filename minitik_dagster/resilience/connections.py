"""Connections to Redis: one patient enough for a person's question, one that never stalls the engine.

The client library repeats failed calls with waits of seconds by default; both kinds switch that off.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from minitik_dagster.errors import ConfigurationError, DependencyDownError

OPERATOR_TIMEOUT_SECONDS = 2.0
ENGINE_TIMEOUT_SECONDS = 0.25
BAD_URL = "REDIS_URL must begin with redis://, rediss:// or unix://"


@contextmanager
def operator_client(redis_url: str) -> Iterator[redis.Redis]:
    """Yield a client for one question; any failure leaves the block as DependencyDownError."""
    try:
        client = redis.Redis.from_url(
            redis_url,
            decode_responses=True,
            socket_timeout=OPERATOR_TIMEOUT_SECONDS,
            socket_connect_timeout=OPERATOR_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        raise ConfigurationError([BAD_URL]) from None
    try:
        yield client
    except RedisError as error:
        raise DependencyDownError(
            "redis", f"Redis does not answer ({type(error).__name__})"
        ) from None
    finally:
        client.close()


def engine_client(
    redis_url: str, patience_seconds: float = ENGINE_TIMEOUT_SECONDS
) -> redis.asyncio.Redis:
    """Make the engine's client: each wait ends with its patience, nothing is repeated.

    Raises ConfigurationError for a URL that is none.
    """
    try:
        return redis.asyncio.Redis.from_url(
            redis_url,
            socket_timeout=patience_seconds,
            socket_connect_timeout=patience_seconds,
            retry=AsyncRetry(NoBackoff(), 0),
        )
    except ValueError:
        raise ConfigurationError([BAD_URL]) from None

"""Runs Lua scripts on the shared Redis without ever stalling the engine.

A hanging or absent Redis costs one short wait, then nothing is asked for five seconds: the caller falls
back to what its own process knows. One line is logged when an outage begins and one when it ends.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from redis.exceptions import RedisError

from minitik_dagster.resilience.connections import ENGINE_TIMEOUT_SECONDS, engine_client

_log = structlog.get_logger(__name__)
CONNECTIONS = 8
_ASK_AGAIN_SECONDS = 5.0


class Scripts:
    """One user's scripts on Redis; `means` says in the log what an outage means for that user.

    `now` is in epoch seconds; an answer is waited for `patience_seconds` long.
    """

    def __init__(
        self,
        redis_url: str | None,
        *,
        means: str,
        now: Callable[[], float] = time.time,
        patience_seconds: float = ENGINE_TIMEOUT_SECONDS,
    ) -> None:
        self._redis = engine_client(redis_url, patience_seconds) if redis_url else None
        self._means = means
        self._now = now
        # A thousand posts at one instant share a few connections instead of opening one each.
        self._lanes = asyncio.Semaphore(CONNECTIONS)
        self._down_until = 0.0

    async def aclose(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()

    async def run(
        self, script: str, keys: Sequence[str], arguments: Sequence[str | int]
    ) -> Any | None:
        """Return the script's answer; None where Redis is not configured or does not answer."""
        if self._redis is None:
            return None
        async with self._lanes:
            if self._now() < self._down_until:
                return None
            try:
                answer = await self._redis.eval(
                    script, len(keys), *keys, *(str(argument) for argument in arguments)
                )
            except RedisError as error:
                if self._down_until == 0.0:
                    _log.warning("redis.down", reason=type(error).__name__, means=self._means)
                self._down_until = self._now() + _ASK_AGAIN_SECONDS
                return None
            if self._down_until:
                _log.info("redis.up")
                self._down_until = 0.0
        return answer

"""The circuit breaker of each platform, on Redis (contracts.md, Redis), atomic by Lua.

CLOSED -(5 failures in 60 s)-> OPEN -(300 s)-> HALF_OPEN with one probe -> CLOSED or OPEN again. Redis
down or not configured: everything is allowed except what this process itself has seen failing.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from minitik_dagster.db.types import Platform
from minitik_dagster.resilience.connections import ENGINE_TIMEOUT_SECONDS, operator_client
from minitik_dagster.resilience.scripts import Scripts

_log = structlog.get_logger(__name__)
FAILURES_TO_OPEN = 5
FAILURE_WINDOW_SECONDS = 60
OPEN_SECONDS = 300
STATE_SECONDS = 360
PROBE_SECONDS = 30

# KEYS: state, failures, opened_at, probe. ARGV: now in ms. Returns 1 when the caller may go.
_ALLOWS = f"""
local state = redis.call('GET', KEYS[1])
if not state or state == 'CLOSED' then return 1 end
local opened = tonumber(redis.call('GET', KEYS[3]) or '0')
if tonumber(ARGV[1]) - opened < {OPEN_SECONDS * 1000} then return 0 end
if redis.call('SET', KEYS[4], ARGV[1], 'NX', 'EX', {PROBE_SECONDS}) then
    redis.call('SET', KEYS[1], 'HALF_OPEN', 'EX', {STATE_SECONDS})
    return 1
end
return 0
"""

_FAILURE = f"""
local state = redis.call('GET', KEYS[1])
local failures = redis.call('INCR', KEYS[2])
if failures == 1 then redis.call('EXPIRE', KEYS[2], {FAILURE_WINDOW_SECONDS}) end
if state == 'HALF_OPEN' or (state ~= 'OPEN' and failures >= {FAILURES_TO_OPEN}) then
    redis.call('SET', KEYS[1], 'OPEN', 'EX', {STATE_SECONDS})
    redis.call('SET', KEYS[3], ARGV[1], 'EX', {STATE_SECONDS})
    redis.call('DEL', KEYS[4])
    return 1
end
return 0
"""

_SUCCESS = """
if redis.call('GET', KEYS[1]) == 'HALF_OPEN' then
    redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
    return 1
end
return 0
"""


# The state as it reads, changing nothing: OPEN after its 300 s is still OPEN until somebody probes.
_READ = """
local state = redis.call('GET', KEYS[1])
if not state or state == 'CLOSED' then return 0 end
return 1
"""


def breaker_keys(platform: Platform) -> list[str]:
    """Return the platform's four keys: state, failures, opened_at, probe."""
    root = f"circuit_breaker:{platform.value.lower()}"
    return [f"{root}:{name}" for name in ("state", "failures", "opened_at", "probe")]


@dataclass(frozen=True)
class BreakerState:
    """What operators see of one breaker; `failures` counts the last 60 s."""

    platform: str
    state: str
    failures: int
    opened_at: datetime | None


def read_states(redis_url: str) -> list[BreakerState]:
    """Read every platform's breaker; DependencyDownError when Redis does not answer."""
    with operator_client(redis_url) as client:
        states = []
        for platform in Platform:
            state, failures, opened = client.mget(breaker_keys(platform)[:3])
            states.append(
                BreakerState(
                    platform=platform.value.lower(),
                    state=str(state or "CLOSED"),
                    failures=int(failures or 0),
                    opened_at=datetime.fromtimestamp(int(opened) / 1000, UTC) if opened else None,
                )
            )
        return states


def reset_breaker(redis_url: str, platform: Platform) -> None:
    """Delete a platform's keys, as an operator's DEL does: closed within a second everywhere."""
    with operator_client(redis_url) as client:
        client.delete(*breaker_keys(platform))


class Breaker:
    """Asks and tells the shared breaker; a hanging Redis costs `patience_seconds`, once."""

    def __init__(
        self,
        redis_url: str | None,
        *,
        now: Callable[[], float] = time.time,
        patience_seconds: float = ENGINE_TIMEOUT_SECONDS,
    ) -> None:
        self._now = now
        self._scripts = Scripts(
            redis_url, means="the breakers allow all", now=now, patience_seconds=patience_seconds
        )
        self._own_failures: dict[Platform, deque[float]] = {}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._scripts.aclose()

    async def allows(self, platform: Platform) -> bool:
        """Return whether a call may go to the platform; in HALF_OPEN one caller gets the probe."""
        answer = await self._run(_ALLOWS, platform)
        return self._own_allows(platform) if answer is None else bool(answer)

    async def is_open(self, platform: Platform) -> bool:
        """Return whether the breaker is OPEN or probing; asks nothing of anybody, takes no probe."""
        answer = await self._run(_READ, platform)
        return not self._own_allows(platform) if answer is None else bool(answer)

    async def record_failure(self, platform: Platform) -> None:
        """Count an unhealthy call: 5xx, connect error or time-out."""
        self._own_failures.setdefault(platform, deque(maxlen=FAILURES_TO_OPEN)).append(self._now())
        if await self._run(_FAILURE, platform):
            _log.warning("breaker.opened", platform=platform.value.lower())

    async def record_success(self, platform: Platform) -> None:
        """Note a healthy call: it closes a breaker that was probing."""
        if await self._run(_SUCCESS, platform):
            _log.info("breaker.closed", platform=platform.value.lower())

    def _own_allows(self, platform: Platform) -> bool:
        """Process-local fallback: five failures of our own in 60 s close the way for 60 s."""
        seen = self._own_failures.get(platform, deque())
        recent = [at for at in seen if self._now() - at < FAILURE_WINDOW_SECONDS]
        return len(recent) < FAILURES_TO_OPEN

    async def _run(self, script: str, platform: Platform) -> int | None:
        now_ms = int(self._now() * 1000)
        answer = await self._scripts.run(script, breaker_keys(platform), [now_ms])
        return None if answer is None else int(answer)

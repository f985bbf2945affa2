"""Keeps our calls inside the platforms' limits, over all processes: counted in Redis, by Lua.

A reservation is taken from all of a call's windows or from none. Redis down or not configured: each
process counts by itself, and hands its count in when Redis is back.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from minitik_dagster.db.types import Platform
from minitik_dagster.resilience.connections import ENGINE_TIMEOUT_SECONDS
from minitik_dagster.resilience.limits_table import (
    CHARGES,
    LIMITS,
    default_budgets,
    slow_down,
)
from minitik_dagster.resilience.scripts import Scripts
from minitik_dagster.settings import LimitName

# KEYS: the windows' counters. ARGV per key: units asked, budget, seconds to live, units used while
# Redis was away. Returns 1 or 0 (taken or not), then what was used of each before.
_RESERVE = """
local used, room = {}, 1
for i, key in ipairs(KEYS) do
    local units, budget = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2])
    local unsent = tonumber(ARGV[4 * i])
    if unsent > 0 then
        redis.call('INCRBY', key, unsent)
        redis.call('EXPIRE', key, ARGV[4 * i - 1])
    end
    used[i] = tonumber(redis.call('GET', key) or '0')
    if used[i] + units > budget then room = 0 end
end
if room == 1 then
    for i, key in ipairs(KEYS) do
        redis.call('INCRBY', key, ARGV[4 * i - 3])
        redis.call('EXPIRE', key, ARGV[4 * i - 1])
    end
end
return {room, unpack(used)}
"""
# A Pacific day has up to 25 hours; a counter past its window is never read.
_KEPT_BEYOND_SECONDS = 3600
_FORGET_EVERY_SECONDS = 60


@dataclass(frozen=True)
class _Charge:
    """What a call takes of one window."""

    key: str
    units: int
    budget: int
    ends_at: float
    lives_seconds: int


class Limiter:
    """Reserves calls. `now` is in epoch seconds; `budgets` are units per window by limit's name.

    Redis is waited for `patience_seconds` long.
    """

    def __init__(
        self,
        redis_url: str | None,
        now: Callable[[], float] = time.time,
        *,
        budgets: Mapping[LimitName, int] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        patience_seconds: float = ENGINE_TIMEOUT_SECONDS,
    ) -> None:
        self._scripts = Scripts(
            redis_url,
            means="each process counts its calls to the platforms by itself",
            now=now,
            patience_seconds=patience_seconds,
        )
        self._now = now
        self._sleep = sleep
        self._budgets = default_budgets() | dict(budgets or {})
        # This process's own count by key: (units, end of the window).
        self._own: dict[str, tuple[int, float]] = {}
        self._unsent: dict[str, int] = {}
        self._forget_at = 0.0

    async def aclose(self) -> None:
        """Close the connections."""
        await self._scripts.aclose()

    async def reserve(self, platform: Platform, key: str, call: str) -> timedelta:
        """Reserve one call for an account (`key`: its id; limits of the whole app ignore it).

        Returns zero when it is reserved, after the slow-down that a nearly used-up budget asks for;
        else how long to wait before asking again, and nothing was taken. KeyError for a call that
        the table does not know.
        """
        charges = self._charges(platform, key, call)
        self._forget_ended()
        unsent = {charge.key: self._unsent.pop(charge.key, 0) for charge in charges}
        arguments: list[int] = []
        for charge in charges:
            arguments += [charge.units, charge.budget, charge.lives_seconds, unsent[charge.key]]
        try:
            answer = await self._scripts.run(_RESERVE, list(unsent), arguments)
        except asyncio.CancelledError:
            self._keep_unsent(unsent)
            raise
        if answer is None:
            self._keep_unsent(unsent)
            used = [self._own.get(charge.key, (0, 0.0))[0] for charge in charges]
            taken = all(
                before + charge.units <= charge.budget
                for before, charge in zip(used, charges, strict=True)
            )
            if taken:
                self._keep_unsent({charge.key: charge.units for charge in charges})
        else:
            taken, used = bool(answer[0]), [int(before) for before in answer[1:]]
        if not taken:
            return self._until_there_is_room(charges, used)
        for charge in charges:
            self._own[charge.key] = (
                self._own.get(charge.key, (0, 0.0))[0] + charge.units,
                charge.ends_at,
            )
        pause = slow_down(max(b / c.budget for b, c in zip(used, charges, strict=True)))
        if pause:
            await self._sleep(pause.total_seconds())
        return timedelta(0)

    def _charges(self, platform: Platform, account_id: str, call: str) -> list[_Charge]:
        now = self._now()
        charges = []
        for name, units in CHARGES[platform, call].items():
            limit = LIMITS[name]
            _, ends_at = limit.window(now)
            charges.append(
                _Charge(
                    key=limit.key(account_id, now),
                    units=units,
                    budget=self._budgets[name],
                    ends_at=ends_at,
                    lives_seconds=int(ends_at - now) + _KEPT_BEYOND_SECONDS,
                )
            )
        return charges

    def _until_there_is_room(self, charges: list[_Charge], used: list[int]) -> timedelta:
        ends = [
            charge.ends_at
            for before, charge in zip(used, charges, strict=True)
            if before + charge.units > charge.budget
        ]
        # Never zero: that would read as reserved.
        return timedelta(seconds=max(max(ends) - self._now(), 0.001))

    def _keep_unsent(self, units: Mapping[str, int]) -> None:
        for key, count in units.items():
            if count:
                self._unsent[key] = self._unsent.get(key, 0) + count

    def _forget_ended(self) -> None:
        now = self._now()
        if now < self._forget_at:
            return
        self._forget_at = now + _FORGET_EVERY_SECONDS
        for key in [key for key, (_, ends_at) in self._own.items() if ends_at <= now]:
            del self._own[key]
            self._unsent.pop(key, None)

"""How much of each call budget its busiest account uses up in the present window, as Redis counts it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from minitik_dagster.resilience.connections import operator_client
from minitik_dagster.resilience.limits_table import LIMITS, CallLimit
from minitik_dagster.settings import LimitName

_SCAN_PAGE: Final = 1_000


@dataclass(frozen=True)
class LimitPeak:
    """One limit in its present window: `used` of `budget` units, by the busiest account or the app."""

    name: LimitName
    platform: str
    used: int
    budget: int

    @property
    def share(self) -> float:
        """The used part of the budget, 0 to 1 and beyond."""
        return self.used / self.budget


def read_peaks(
    redis_url: str,
    budgets: Mapping[LimitName, int],
    *,
    now: Callable[[], float] = time.time,
) -> list[LimitPeak]:
    """Read every limit's use; DependencyDownError when Redis does not answer."""
    epoch = now()
    with operator_client(redis_url) as client:
        found: list[LimitPeak] = []
        # One walk over the keys for all limits that are counted per account.
        counted = {str(key): 0 for key in client.scan_iter("rate_limit:*", count=_SCAN_PAGE)}
        wanted = [
            key for key in counted if any(_is_of(key, item, epoch) for item in LIMITS.values())
        ]
        if wanted:
            for key, value in zip(wanted, client.mget(wanted), strict=True):
                counted[key] = int(value or 0)
        for name, limit in LIMITS.items():
            used = [counted[key] for key in wanted if _is_of(key, limit, epoch)]
            platform = limit.platform.value.lower()
            found.append(LimitPeak(name, platform, max(used, default=0), budgets[name]))
    return found


def _is_of(key: str, limit: CallLimit, epoch: float) -> bool:
    """Whether a key counts this limit's present window, for whichever account."""
    if limit.per_app:
        return key == limit.key("", epoch)
    # The subject is an account's id, followed by the limit's counter where it has one.
    before, _, after = limit.key("\0", epoch).partition("\0")
    subject = key.removeprefix(before).removesuffix(after)
    return (
        key.startswith(before)
        and key.endswith(after)
        and bool(subject)
        and subject != "app"
        and "." not in subject
        and ":" not in subject
    )

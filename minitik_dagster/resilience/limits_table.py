"""How often we may call the platforms: the one table of call limits, and what of it we use.

The vendors' figures are those of November 2026 (platform documentation: TikTok "Direct Post" and "Rate
limits", Instagram "IG User Media", YouTube "Quota calculator"); the two hourly ones are the old system's
own. By default half of each is used, so two neighbouring windows together stay inside a limit that the
vendor counts over a sliding one. MINITIK_LIMITS sets other budgets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import ConfigurationError
from minitik_dagster.settings import LimitName, Settings

BUDGET_SHARE: Final = 0.5
APP: Final = "app"
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
PACIFIC: Final = ZoneInfo("America/Los_Angeles")
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True)
class CallLimit:
    """At most `units` in each window of `seconds`, per account or for our whole app.

    `pacific`: the window is the day in California, where YouTube's quota is reset at midnight.
    `counter` tells limits with the same window and subject apart in Redis.
    """

    platform: Platform
    units: int
    seconds: int
    per_app: bool = False
    pacific: bool = False
    counter: str = ""

    def window(self, epoch: float) -> tuple[int, float]:
        """Return the number of the window that `epoch` (seconds) falls in, and when it ends."""
        if not self.pacific:
            number = int(epoch // self.seconds)
            return number, float((number + 1) * self.seconds)
        today = datetime.fromtimestamp(epoch, UTC).astimezone(PACIFIC).date()
        midnight = datetime.combine(today + timedelta(days=1), time(), PACIFIC)
        return (today - _EPOCH).days, midnight.timestamp()

    def key(self, account_id: str, epoch: float) -> str:
        """Return the Redis key of the window that `epoch` falls in (contract: Redis)."""
        subject = (APP if self.per_app else account_id) + (f".{self.counter}" * bool(self.counter))
        number, _ = self.window(epoch)
        return f"rate_limit:{self.platform.value.lower()}:{subject}:{self.seconds}:{number}"


LIMITS: Final[Mapping[LimitName, CallLimit]] = MappingProxyType(
    {
        "tiktok.init": CallLimit(Platform.TIKTOK, 6, _MINUTE),
        "tiktok.posts": CallLimit(Platform.TIKTOK, 50, _HOUR),
        "tiktok.status": CallLimit(Platform.TIKTOK, 30, _MINUTE, counter="status"),
        "tiktok.creator_info": CallLimit(Platform.TIKTOK, 20, _MINUTE, counter="creator_info"),
        "instagram.posts": CallLimit(Platform.INSTAGRAM, 100, _HOUR),
        "instagram.containers": CallLimit(Platform.INSTAGRAM, 400, _DAY),
        "youtube.uploads": CallLimit(Platform.YOUTUBE, 100, _DAY, per_app=True, pacific=True),
        "youtube.units": CallLimit(
            Platform.YOUTUBE, 10_000, _DAY, per_app=True, pacific=True, counter="units"
        ),
        # TikTok "Rate limits": /v2/video/query/. Instagram's grows with the account's audience from this
        # on ("Business Use Case Rate Limits": 4,800 calls times impressions in 24 hours).
        "tiktok.metrics": CallLimit(Platform.TIKTOK, 600, _MINUTE, per_app=True, counter="metrics"),
        "instagram.metrics": CallLimit(Platform.INSTAGRAM, 4_800, _DAY, counter="metrics"),
        # Our own share of youtube.units: reading numbers never uses up what posts need.
        "youtube.metrics": CallLimit(
            Platform.YOUTUBE, 4_000, _DAY, per_app=True, pacific=True, counter="metrics"
        ),
        # The Analytics API's quota is not on its pages: a figure of ours.
        "youtube.reports": CallLimit(
            Platform.YOUTUBE, 120, _MINUTE, per_app=True, counter="reports"
        ),
        # No vendor names a figure for its token endpoint: TikTok's general one ("Rate limits": 600 a
        # minute) stands for all three.
        "tiktok.refresh": CallLimit(Platform.TIKTOK, 600, _MINUTE, per_app=True, counter="refresh"),
        "instagram.refresh": CallLimit(
            Platform.INSTAGRAM, 600, _MINUTE, per_app=True, counter="refresh"
        ),
        "youtube.refresh": CallLimit(
            Platform.YOUTUBE, 600, _MINUTE, per_app=True, counter="refresh"
        ),
        # Who am I. TikTok counts /v2/user/info/ so; Meta names no figure for /me. On YouTube it takes
        # of the units that posts need: a tenth of the day is all it may have.
        "tiktok.probe": CallLimit(Platform.TIKTOK, 600, _MINUTE, per_app=True, counter="probe"),
        "instagram.probe": CallLimit(
            Platform.INSTAGRAM, 600, _MINUTE, per_app=True, counter="probe"
        ),
        "youtube.probe": CallLimit(
            Platform.YOUTUBE, 1_000, _DAY, per_app=True, pacific=True, counter="probe"
        ),
    }
)

# YouTube's prices in units (June 2026); the upload itself is counted apart.
_UPDATE, _LIST = 50, 1

# What one call takes of each limit. A YouTube post is reserved whole: the update that makes it public
# must not find the day's units gone, and its state is asked a few times.
CHARGES: Final[Mapping[tuple[Platform, str], Mapping[LimitName, int]]] = MappingProxyType(
    {
        (Platform.TIKTOK, "init"): {"tiktok.init": 1, "tiktok.creator_info": 1, "tiktok.posts": 1},
        (Platform.TIKTOK, "status"): {"tiktok.status": 1},
        (Platform.TIKTOK, "creator_info"): {"tiktok.creator_info": 1},
        (Platform.INSTAGRAM, "container"): {"instagram.posts": 1, "instagram.containers": 1},
        (Platform.YOUTUBE, "session"): {"youtube.uploads": 1, "youtube.units": _UPDATE + 6 * _LIST},
        (Platform.YOUTUBE, "update"): {"youtube.units": _UPDATE},
        (Platform.YOUTUBE, "delete"): {"youtube.units": 50},
        (Platform.YOUTUBE, "list"): {"youtube.units": _LIST},
        (Platform.TIKTOK, "metrics"): {"tiktok.metrics": 1},
        (Platform.INSTAGRAM, "metrics"): {"instagram.metrics": 1},
        (Platform.YOUTUBE, "metrics"): {"youtube.metrics": 1, "youtube.units": _LIST},
        (Platform.YOUTUBE, "reports"): {"youtube.reports": 1},
        (Platform.TIKTOK, "refresh"): {"tiktok.refresh": 1},
        (Platform.INSTAGRAM, "refresh"): {"instagram.refresh": 1},
        (Platform.YOUTUBE, "refresh"): {"youtube.refresh": 1},
        (Platform.TIKTOK, "probe"): {"tiktok.probe": 1},
        (Platform.INSTAGRAM, "probe"): {"instagram.probe": 1},
        (Platform.YOUTUBE, "probe"): {"youtube.probe": 1, "youtube.units": _LIST},
    }
)

# The call that makes a post's handle, whose budget is reserved while preparing.
HANDLE_CALL: Final[Mapping[Platform, str]] = MappingProxyType(
    {Platform.TIKTOK: "init", Platform.INSTAGRAM: "container", Platform.YOUTUBE: "session"}
)

# From this share of a budget on, each call is slowed down by so much (the old system's steps).
SLOW_DOWN: Final = (
    (0.95, timedelta(seconds=5)),
    (0.85, timedelta(seconds=2)),
    (0.70, timedelta(seconds=0.5)),
)


def default_budgets() -> dict[LimitName, int]:
    """Return the budgets where nothing is set: half of each limit."""
    return {name: int(limit.units * BUDGET_SHARE) for name, limit in LIMITS.items()}


def budgets(settings: Settings) -> dict[LimitName, int]:
    """Return what may be used of each limit, in units per window.

    Raises ConfigurationError for a budget that is smaller than what one call takes of it: such a call
    would wait for ever.
    """
    chosen = (
        default_budgets()
        | {"tiktok.init": settings.minitik_tiktok_init_per_minute}
        | settings.minitik_limits
    )
    least = {
        name: max(taken.get(name, 0) for taken in CHARGES.values())
        for name in settings.minitik_limits
    }
    problems = [
        f"MINITIK_LIMITS: {name} is {chosen[name]}, but one call takes {units}"
        for name, units in least.items()
        if chosen[name] < units
    ]
    if problems:
        raise ConfigurationError(problems)
    return chosen


def slow_down(share: float) -> timedelta:
    """Return how long a call waits when `share` of its budget was used before it."""
    return next((pause for used, pause in SLOW_DOWN if share >= used), timedelta(0))

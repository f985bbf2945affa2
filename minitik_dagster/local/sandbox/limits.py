"""The platforms' limits, delays and variants: one table of settings, and the counters they rule.

The figures are the vendors' as of November 2026. `PUT /_sandbox/limits` overrides any of them.
"""

from collections import defaultdict, deque
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from minitik_dagster.local.sandbox.store import Store

DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "tiktok": {
        "clientId": None,  # None: any non-empty value is taken
        "clientSecret": None,
        "accessTtlSeconds": 7_200,
        "refreshTtlSeconds": 15_552_000,
        "creatorInfoPerMinute": 20,
        "initPerMinute": 6,
        "statusPerMinute": 30,
        "listPerMinute": 600,
        "uploadUrlTtlSeconds": 3_600,
        "processingMs": 1_000,
        "moderationMs": 2_000,
        "postsPerDay": None,  # the vendor names no figure; over it: spam_risk_too_many_posts
        "maxVideoBytes": 4_000_000_000,
        "maxDurationSeconds": 600,
        "unaudited": False,
        "commentDisabled": False,  # what creators switched off in the app; a private account's
        "duetDisabled": False,  # duet and stitch are off in any case
        "stitchDisabled": False,
        "verifiedDomains": [],
        "fetchTimeoutMs": 30_000,
    },
    "instagram": {
        "clientId": None,
        "clientSecret": None,
        "shortTtlSeconds": 3_600,
        "longTtlSeconds": 5_184_000,
        "refreshMinAgeSeconds": 86_400,
        "tokenAnswer": "data",  # or "flat", the older variant
        "containersPerDay": 400,
        "postsPerDay": 100,  # quota_total; 50 is the other figure the vendor prints
        "containerTtlSeconds": 86_400,
        "processingMs": 1_500,
        "maxVideoBytes": 300_000_000,
        "maxCoverBytes": 8_000_000,
        "fetchTimeoutMs": 30_000,
        "repeatPublish": "same-id",  # or "refused"
        "repeatRefusal": "24/2207008",
        "insightsDelayMs": 0,
        "captionReadable": False,
    },
    "youtube": {
        "clientId": None,
        "clientSecret": None,
        "accessTtlSeconds": 3_600,
        "uploadsPerDay": 100,
        "unitsPerDay": 10_000,
        "statsPerDay": 10_000,
        "uploadsPerChannelPerDay": None,  # over it: 400 uploadLimitExceeded
        "sessionTtlSeconds": 604_800,
        "processingMs": 2_000,
        "finalStatus": 201,  # clients take 200 too
        "prices": {"list": 1, "update": 50, "delete": 50, "thumbnail": 50, "stats": 1},
        "maxVideoBytes": 256_000_000_000,
        "maxThumbnailBytes": 50_000_000,
        "analyticsLagDays": 0,
    },
}

_OPTIONAL: Final = {"clientId": str, "clientSecret": str, "postsPerDay": int}
_CHOICES: Final = {
    "tokenAnswer": ("data", "flat"),
    "repeatPublish": ("same-id", "refused"),
    "finalStatus": (200, 201),
}
_PACIFIC: Final = ZoneInfo("America/Los_Angeles")
_MINUTE_MS: Final = 60_000


class LimitsError(ValueError):
    """A limit was set to something it cannot be; the text names it and what it takes."""


def _checked(name: str, old: Any, new: Any) -> Any:
    key = name.rsplit(".", 1)[-1]
    if key in _CHOICES:
        if new not in _CHOICES[key]:
            raise LimitsError(f"{name} must be one of {list(_CHOICES[key])}, not {new!r}")
        return new
    if isinstance(old, dict):
        if not isinstance(new, dict):
            raise LimitsError(f"{name} must be an object, not {new!r}")
        return _merged(old, new, name)
    if new is None and key in {*_OPTIONAL, "uploadsPerChannelPerDay"}:
        return None
    if isinstance(old, bool) or isinstance(new, bool):
        fits = isinstance(old, bool) and isinstance(new, bool)
    elif isinstance(old, list):
        fits = isinstance(new, list) and all(isinstance(item, str) for item in new)
    elif old is None:
        fits = isinstance(new, _OPTIONAL.get(key, int))
    else:
        fits = isinstance(new, type(old))
    if not fits or (isinstance(new, int) and new < 0):
        raise LimitsError(f"{name} cannot be {new!r}; an example of what it takes: {old!r}")
    return new


def _merged(old: dict[str, Any], change: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    result = dict(old)
    for key, value in change.items():
        name = f"{prefix}.{key}" if prefix else key
        if key not in old:
            raise LimitsError(f"{name} is not a limit; GET /_sandbox/limits shows all")
        result[key] = _checked(name, _example(name, old[key]), value)
    return result


def _example(name: str, present: Any) -> Any:
    """A limit's default decides its type, also while an override to None stands."""
    value: Any = DEFAULTS
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return present
        value = value[part]
    return present if isinstance(value, dict) or value is None else value


class Limits:
    """The settings in force, and the per-minute windows and daily quotas counted against them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        stored = store.read_setting("limits") or {}
        self._values: dict[str, Any] = deepcopy(DEFAULTS)
        for platform, values in stored.items():
            known = {k: v for k, v in values.items() if k in self._values.get(platform, {})}
            self._values[platform] = {**self._values[platform], **known}
        self._windows: dict[tuple[str, str, str], deque[int]] = defaultdict(deque)

    def show(self) -> dict[str, Any]:
        """Return every limit in force."""
        return deepcopy(self._values)

    def change(self, change: dict[str, Any]) -> None:
        """Merge `change` in deeply; raises LimitsError and changes nothing if any part is bad."""
        self._values = _merged(self._values, change)
        self._store.write_setting("limits", self._values)

    def reset(self) -> None:
        """Return to the defaults and forget what was counted in the last minute."""
        self._values = deepcopy(DEFAULTS)
        self._store.write_setting("limits", self._values)
        self._windows.clear()

    def get(self, platform: str, name: str) -> Any:
        """Return one limit's value."""
        return self._values[platform][name]

    def number(self, platform: str, name: str) -> int:
        """Return one limit that is a whole number."""
        return int(self._values[platform][name])

    def text(self, platform: str, name: str) -> str:
        """Return one limit that is text."""
        return str(self._values[platform][name])

    def admit(self, platform: str, operation: str, account: str, now_ms: int) -> bool:
        """Count one call in the account's sliding minute; False when the minute is full."""
        allowed = self.number(platform, f"{operation}PerMinute")
        window = self._windows[platform, operation, account]
        while window and window[0] <= now_ms - _MINUTE_MS:
            window.popleft()
        if len(window) >= allowed:
            return False
        window.append(now_ms)
        return True

    def spend(self, bucket: str, amount: int, allowed: int, now_ms: int) -> bool:
        """Take `amount` from a bucket that is full again at midnight Pacific; False if it lacks."""
        day = pacific_day(now_ms)
        used = self._store.number(
            "SELECT used FROM quota WHERE bucket = ? AND day = ?", bucket, day
        )
        if used + amount > allowed:
            return False
        self._store.run(
            "INSERT INTO quota (bucket, day, used) VALUES (?, ?, ?) "
            "ON CONFLICT (bucket, day) DO UPDATE SET used = used + excluded.used",
            bucket,
            day,
            amount,
        )
        return True


def pacific_day(now_ms: int) -> str:
    """Return the date in California, where YouTube's quota day begins at midnight."""
    return datetime.fromtimestamp(now_ms / 1000, _PACIFIC).date().isoformat()


def iso_utc(epoch_ms: int) -> str:
    """Write an instant as Google does: ISO 8601 in UTC with `Z`."""
    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=epoch_ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"

"""How much of each call budget is used in its present window, read and never taken."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import DependencyDownError
from minitik_dagster.resilience.connections import operator_client
from minitik_dagster.resilience.limits_table import APP, LIMITS
from minitik_dagster.settings import LimitName


@dataclass(frozen=True)
class LimitUse:
    """One limit for one subject: our app as a whole (`app`) or an account's id.

    `limit` is the platform's figure and `budget` what we allow ourselves of it, both in units per
    window; `used` is None while Redis does not answer.
    """

    name: LimitName
    platform: Platform
    subject: str
    window_seconds: int
    limit: int
    budget: int
    used: int | None
    resets_at: datetime


def read_use(
    redis_url: str | None,
    budgets: Mapping[LimitName, int],
    accounts: Sequence[tuple[Platform, str]],
    *,
    now: float | None = None,
) -> list[LimitUse]:
    """Return every limit of the app, and those per account for these accounts, in the table's order."""
    at = time.time() if now is None else now
    subjects = [
        (name, subject)
        for name, limit in LIMITS.items()
        for subject in (
            [APP]
            if limit.per_app
            else [one for platform, one in accounts if platform is limit.platform]
        )
    ]
    keys = [LIMITS[name].key(subject, at) for name, subject in subjects]
    counts = _counts(redis_url, keys)
    found = []
    for place, (name, subject) in enumerate(subjects):
        limit = LIMITS[name]
        found.append(
            LimitUse(
                name=name,
                platform=limit.platform,
                subject=subject,
                window_seconds=limit.seconds,
                limit=limit.units,
                budget=budgets[name],
                used=None if counts is None else int(counts[place] or 0),
                resets_at=datetime.fromtimestamp(limit.window(at)[1], UTC),
            )
        )
    return found


def _counts(redis_url: str | None, keys: list[str]) -> list[bytes | str | None] | None:
    if redis_url is None:
        return None
    try:
        with operator_client(redis_url) as client:
            return list(client.mget(keys)) if keys else []
    except DependencyDownError:
        return None

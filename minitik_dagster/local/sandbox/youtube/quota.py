"""The project's daily buckets, full again at midnight Pacific.

Rule: "Quota Calculator - YouTube Data API" (since 2026-06-01): 100 uploads a day, 10,000 units for
the rest, batchGetStats in a bucket of its own; every request, even an invalid one, costs.
"""

from minitik_dagster.local.sandbox.http import Reply
from minitik_dagster.local.sandbox.world import World
from minitik_dagster.local.sandbox.youtube.envelope import google_error


class Quota:
    """Takes each call's price from its bucket, or refuses with quotaExceeded."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _spend(self, bucket: str, amount: int, limit: str, now_ms: int) -> Reply | None:
        limits = self._world.limits
        if limits.spend("youtube." + bucket, amount, limits.number("youtube", limit), now_ms):
            return None
        return google_error(
            "quotaExceeded", "The request cannot be completed because you have exceeded your quota."
        )

    def upload(self, now_ms: int) -> Reply | None:
        """Charge one upload."""
        return self._spend("uploads", 1, "uploadsPerDay", now_ms)

    def units(self, operation: str, now_ms: int) -> Reply | None:
        """Charge an operation's price in units."""
        price = self._world.limits.get("youtube", "prices")[operation]
        return self._spend("units", int(price), "unitsPerDay", now_ms)

    def stats(self, now_ms: int) -> Reply | None:
        """Charge a batchGetStats call."""
        price = self._world.limits.get("youtube", "prices")["stats"]
        return self._spend("stats", int(price), "statsPerDay", now_ms)

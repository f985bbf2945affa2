"""When a publication's preparation begins (engine.md, "When to prepare").

Lead = the platform's margin + the time to move the bytes at a cautious speed. What is scheduled
later than that is prepared at once.
"""

from datetime import datetime, timedelta

from minitik_dagster.db.types import Platform

_MARGIN = {
    Platform.TIKTOK: timedelta(minutes=10),
    Platform.INSTAGRAM: timedelta(minutes=15),
    Platform.YOUTUBE: timedelta(minutes=30),
}
# A cautious upload speed until measured ones exist: 2 MiB/s. TikTok's whole preparation must stay
# inside its upload URL's hour, so its lead is capped.
_BYTES_PER_SECOND = 2 * 1024 * 1024
_CAP = {
    Platform.TIKTOK: timedelta(minutes=45),
    Platform.INSTAGRAM: timedelta(minutes=15),
    Platform.YOUTUBE: timedelta(hours=2),
}


def lead_time(platform: Platform, size_bytes: int) -> timedelta:
    """Return how long before its instant a publication of this size begins to be prepared."""
    moving = timedelta(seconds=size_bytes / _BYTES_PER_SECOND)
    if platform is Platform.INSTAGRAM:
        moving = timedelta(0)
    return min(_MARGIN[platform] + moving, _CAP[platform])


def prepare_at(platform: Platform, due_at: datetime, size_bytes: int) -> datetime:
    """Return the instant from which a dispatcher may take the publication."""
    return due_at - lead_time(platform, size_bytes)

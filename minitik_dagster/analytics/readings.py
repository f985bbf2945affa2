"""A reading: a post's cumulative counters at an instant, as the collection `analytics` holds it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from minitik_dagster.analytics.metrics import NAMES, OFFERED, engagement_rate
from minitik_dagster.db.types import Platform
from minitik_dagster.platforms.port import PostMetrics

# Documents of the old collector wrote 0 where they knew nothing.
_ZERO_MEANS_UNKNOWN = ("reach", "impressions")


@dataclass(frozen=True)
class Series:
    """What a series of readings is of; `publication_id` is its key.

    `live_at` is when the post went live. `adopted`: it did so under the old system, so its first
    reading says nothing of when the counts came.
    """

    publication_id: str
    content_id: str
    account_id: str
    user_id: str
    platform: Platform
    platform_post_id: str
    live_at: datetime
    adopted: bool = False


@dataclass(frozen=True)
class Reading:
    """Counters at `timestamp`, taken for the due instant `slot`; None = not offered or not sent."""

    publication_id: str
    slot: datetime
    timestamp: datetime
    counters: Mapping[str, int | None] = field(default_factory=dict)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a document of the collection, the old collector's as well (it has no slot)."""
        timestamp = _utc(document["timestamp"])
        slot = document.get("slot")
        counters = {name: _whole(document.get(name)) for name in NAMES}
        if slot is None:
            for name in _ZERO_MEANS_UNKNOWN:
                counters[name] = counters[name] or None
        metadata = document["metadata"]
        return cls(
            publication_id=str(metadata.get("publicationId") or ""),
            slot=_utc(slot) if slot is not None else timestamp,
            timestamp=timestamp,
            counters=counters,
        )


def document_of(
    series: Series, found: PostMetrics, slot: datetime, timestamp: datetime
) -> dict[str, Any]:
    """Return the reading as the collection holds it (contracts.md, MongoDB)."""
    offered = OFFERED[series.platform]
    counters = {name: getattr(found, name, None) if name in offered else None for name in NAMES}
    return {
        "timestamp": timestamp,
        "slot": slot,
        "metadata": {
            "contentId": series.content_id,
            "accountId": series.account_id,
            "platform": series.platform.value,
            "userId": series.user_id,
            "platformPostId": series.platform_post_id,
            "publicationId": series.publication_id,
        },
        **counters,
        "engagementRate": engagement_rate(series.platform, counters),
    }


def earliest_per_slot(readings: Iterable[Reading]) -> list[Reading]:
    """Return the readings in time's order, the earliest of each (publication, slot).

    A time-series collection has no unique index: two runs that overlapped may both have written.
    """
    found: dict[tuple[str, datetime], Reading] = {}
    for reading in sorted(readings, key=lambda one: one.timestamp):
        found.setdefault((reading.publication_id, reading.slot), reading)
    return list(found.values())


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value)

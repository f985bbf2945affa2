"""When a post's counters are read: by its age, so that cost grows with new posts, not with all ever.

A post's due instants are its first live hour, rounded up, plus the ladder. The reading of one due
instant may be taken until the next one is due; after that it is missed for ever, as no platform tells
what a counter was. The reading's `slot` is the due instant, its `timestamp` the true one.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
# (until this age, every so often); the one table.
CADENCE: Final[tuple[tuple[timedelta, timedelta], ...]] = (
    (1 * DAY, HOUR),
    (3 * DAY, 4 * HOUR),
    (7 * DAY, 6 * HOUR),
    (30 * DAY, DAY),
    (365 * DAY, 7 * DAY),
)
# A reading that is older than this beside a younger due one is late (the check "fresh").
GRACE: Final = HOUR


def _offsets() -> Iterator[int]:
    age = timedelta(0)
    yield 0
    for until, every in CADENCE:
        while age + every <= until:
            age += every
            yield age // HOUR


LADDER: Final[tuple[int, ...]] = tuple(_offsets())
"""Hours from a post's first slot to each of its due instants."""


def first_slot(live_at: datetime) -> datetime:
    """Return the first whole hour at or after the instant at which a post went live (UTC)."""
    utc = live_at.astimezone(UTC)
    floor = utc.replace(minute=0, second=0, microsecond=0)
    return floor if floor == utc else floor + HOUR


def next_due(live_at: datetime, slot: datetime) -> datetime | None:
    """Return the first due instant after `slot`; None past the last one, a year on."""
    first = first_slot(live_at)
    place = bisect_right(LADDER, (slot - first) // HOUR)
    return first + LADDER[place] * HOUR if place < len(LADDER) else None


def last_due(live_at: datetime, now: datetime) -> datetime | None:
    """Return the last due instant at or before `now`; None before the first one."""
    first = first_slot(live_at)
    place = bisect_right(LADDER, (now - first) // HOUR)
    return first + LADDER[place - 1] * HOUR if place else None


def may_be_read(live_at: datetime, slot: datetime, now: datetime) -> bool:
    """Whether the reading due at `slot` may (still) be taken: until the post's next one is due.

    The last one of a post may be taken for a week.
    """
    after = next_due(live_at, slot)
    return slot <= now < (after if after is not None else slot + 7 * DAY)


def first_slots_due(slot: datetime) -> list[datetime]:
    """Return the first slots of the posts whose ladder has a rung at `slot`, the youngest first.

    The inverse of the ladder: what the question to the database is made of.
    """
    return [slot - hours * HOUR for hours in LADDER]

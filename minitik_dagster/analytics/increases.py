"""From counters to increases: differences, signed, so that they add up whatever way they are cut.

C(t) is the last reading at or before t that has the metric; the increase over (a, b] is C(b) - C(a).
Before going live C is 0; of an adopted post it is unknown until its first reading. A day without a
reading has none, and the next increase covers the days since (`span_days`): nothing is interpolated.
A negative increase is real (unlikes, clean-ups) and marked `corrected`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from typing import Any

from minitik_dagster.analytics.days import day_of, end_of, start_of
from minitik_dagster.analytics.metrics import NAMES
from minitik_dagster.analytics.readings import Reading, Series


@dataclass(frozen=True)
class Increase:
    """A metric's day: `total` is the closing counter, None where the day has no reading of it.

    `increase` is None as well where the counter before is unknown; `since` then tells the first
    reading. `span_days` counts the days that the increase covers, this one included.
    """

    increase: int | None = None
    total: int | None = None
    span_days: int | None = None
    since: datetime | None = None

    @property
    def corrected(self) -> bool:
        """Whether the platform took counts back."""
        return self.increase is not None and self.increase < 0


UNKNOWN = Increase()


class Counter:
    """One metric of one post over time."""

    def __init__(self, series: Series, points: Sequence[tuple[datetime, int]]) -> None:
        self._series = series
        self._points = points
        self._instants = [instant for instant, _ in points]

    def _at(self, instant: datetime) -> tuple[datetime, int] | None:
        place = bisect_right(self._instants, instant)
        return self._points[place - 1] if place else None

    def at(self, instant: datetime) -> int | None:
        """Return C(instant); None where it is unknown."""
        found = self._at(instant)
        if found is not None:
            return found[1]
        return None if self._series.adopted else 0

    def between(self, start: datetime, end: datetime) -> int | None:
        """Return C(end) - C(start) over what is known; None without a reading in (start, end].

        Of an adopted post that was first read in between: from that reading on.
        """
        closing = self._at(end)
        if closing is None or closing[0] <= start:
            return None
        opening = self.at(start)
        if opening is None:
            first = self._points[0]
            return None if first is closing else closing[1] - first[1]
        return closing[1] - opening

    def day(self, day: date, zone: tzinfo = UTC) -> Increase:
        """Return the increase of a day in `zone`."""
        start, end = start_of(day, zone), end_of(day, zone)
        closing = self._at(end)
        if closing is None or closing[0] <= start:
            return UNKNOWN
        before = self._at(start)
        if before is not None:
            span = (day - day_of(before[0], zone)).days
            return Increase(closing[1] - before[1], closing[1], span)
        if not self._series.adopted:
            span = max(0, (day - day_of(self._series.live_at, zone)).days) + 1
            return Increase(closing[1], closing[1], span)
        first = self._points[0]
        # Within its first day an adopted post grew by what was seen from the first reading on.
        grown = closing[1] - first[1] if closing is not first else None
        return Increase(grown, closing[1], 1 if grown is not None else None, since=first[0])


def counters_of(series: Series, readings: Iterable[Reading]) -> Mapping[str, Counter]:
    """Return each metric's counter; `readings` are the series' own, the earliest per slot, in order."""
    readings = list(readings)
    return {
        name: Counter(
            series,
            [
                (reading.timestamp, value)
                for reading in readings
                if (value := reading.counters.get(name)) is not None
            ],
        )
        for name in NAMES
    }


def summed(values: Iterable[Any]) -> int | None:
    """Return the sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None

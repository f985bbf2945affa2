"""Days: in UTC where they are stored, in a person's zone where one asks for it, and ranges of them.

A day holds the readings with start < timestamp <= end: C(end) is the last reading at or before its end.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from minitik_dagster.errors import FieldProblem, InvalidInputError

RANGES: Final = {"7d": 7, "14d": 14, "30d": 30, "90d": 90, "365d": 365}
_ONE: Final = timedelta(days=1)


def start_of(day: date, zone: tzinfo = UTC) -> datetime:
    """Return the instant, in UTC, at which `day` begins in `zone`."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def end_of(day: date, zone: tzinfo = UTC) -> datetime:
    """Return the instant, in UTC, at which `day` ends: the start of the next one."""
    return start_of(day + _ONE, zone)


def day_of(instant: datetime, zone: tzinfo = UTC) -> date:
    """Return the day whose (start, end] holds `instant`: midnight itself closes the day before."""
    return (instant.astimezone(zone) - timedelta(microseconds=1)).date()


@dataclass(frozen=True)
class DayRange:
    """The days from `first` to `last`, both included, in `zone`."""

    name: str
    first: date
    last: date
    zone: tzinfo = UTC

    @property
    def days(self) -> list[date]:
        """Every day, in order."""
        return [self.first + n * _ONE for n in range((self.last - self.first).days + 1)]

    @property
    def before(self) -> "DayRange":
        """The range of as many days that ends where this one begins."""
        length = (self.last - self.first) + _ONE
        return DayRange(self.name, self.first - length, self.last - length, self.zone)

    @property
    def start(self) -> datetime:
        """The instant at which the first day begins."""
        return start_of(self.first, self.zone)

    @property
    def end(self) -> datetime:
        """The instant at which the last day ends."""
        return end_of(self.last, self.zone)


def day_range(name: str, now: datetime, zone: tzinfo = UTC) -> DayRange:
    """Return the range `7d` … `365d` that ends with today in `zone`.

    Raises InvalidInputError, naming the ranges there are.
    """
    length = RANGES.get(name)
    if length is None:
        known = ", ".join(RANGES)
        raise InvalidInputError(FieldProblem("range", f"{name[:20]!r} is no range", f"use {known}"))
    today = now.astimezone(zone).date()
    return DayRange(name, today - (length - 1) * _ONE, today, zone)


def zone_named(name: str | None) -> tzinfo:
    """Return an IANA zone, UTC for none; InvalidInputError where there is no such zone."""
    if name is None or name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        problem = FieldProblem(
            "timezone", f"{name[:64]!r} is no IANA time zone", "use a name such as Europe/Berlin"
        )
        raise InvalidInputError(problem) from None

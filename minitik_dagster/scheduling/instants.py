"""Wall time + IANA zone -> one UTC instant, worked out once, when the post is scheduled.

Wall times that a clock change skips or doubles are not guessed: they are refused with both candidates,
unless the caller said `earlier` or `later`. For a doubled time these are its two instants; for a
skipped one, as in the Temporal proposal (TC39), the same reading by the offset after the change
(`earlier`) and by the offset before it (`later`): 02:30 in a gap of one hour becomes 01:30 or 03:30.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo, available_timezones

from minitik_dagster.clock import iso_z
from minitik_dagster.errors import FieldProblem, InvalidInputError

Disambiguation = Literal["earlier", "later"]
HORIZON: Final = timedelta(days=30)
PAST_MESSAGE: Final = "Cannot schedule a job in the past"
# Names that stand for the machine's own zone: they would mean another instant elsewhere.
_NOT_ZONES: Final = frozenset({"localtime", "Factory", "posixrules"})
_FORM: Final = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})[Tt ](?P<hour>\d{2}:\d{2})(?P<second>:\d{2})?"
    r"(?:[.,](?P<fraction>\d{1,9}))?(?P<offset>[Zz]|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)
_EXAMPLES: Final = "2026-12-24T18:00:00 (wall time in `timezone`) or 2026-12-24T17:00:00Z"


@dataclass(frozen=True)
class ZonedInstant:
    """An instant and the zone in which it was meant. `at` is aware, UTC, whole milliseconds."""

    at: datetime
    zone: str

    @property
    def local(self) -> datetime:
        """The wall time in the zone, with its offset."""
        return self.at.astimezone(ZoneInfo(self.zone))

    @property
    def local_text(self) -> str:
        """The wall time as ISO 8601 with offset, in seconds (milliseconds where there are any)."""
        unit = "milliseconds" if self.at.microsecond else "seconds"
        return self.local.isoformat(timespec=unit)


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Return the IANA zones that are known here."""
    return frozenset(available_timezones()) - _NOT_ZONES


def require_zone(name: str, *, field: str = "timezone") -> ZoneInfo:
    """Return the zone; InvalidInputError, with names that look alike, for an unknown one."""
    if name not in zone_names():
        alike = get_close_matches(name[:64], zone_names(), n=3, cutoff=0.6)
        meant = f"did you mean {' or '.join(sorted(alike))}?" if alike else ""
        raise InvalidInputError(
            FieldProblem(
                field,
                f"unknown time zone {name[:64]!r}",
                f"{meant} Use an IANA name such as Europe/Berlin or UTC".strip(),
            )
        )
    return ZoneInfo(name)


def resolve(
    text: str,
    zone: str | None,
    *,
    disambiguation: Disambiguation | None = None,
    field: str = "scheduledAt",
) -> ZonedInstant:
    """Return the one instant that `text` means.

    With an offset it is that instant; without one it is a wall time in `zone`. A fraction finer than
    the schema's milliseconds is rounded up: a post is never early. Raises InvalidInputError for another
    form, a date that does not exist, an unknown zone, a missing one, and a skipped or doubled wall time
    where `disambiguation` does not choose.
    """
    found = _FORM.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        wall = datetime.fromisoformat(
            f"{found['date']}T{found['hour']}{found['second'] or ':00'}"
        ) + _fraction(found["fraction"])
    except (ValueError, OverflowError):
        raise InvalidInputError(
            FieldProblem(field, f"{text[:64]!r} is not a date and time", f"write {_EXAMPLES}")
        ) from None
    if zone is not None:
        require_zone(zone)
    if (offset := found["offset"]) is not None:
        return ZonedInstant(_at_offset(wall, offset, text, field), zone or "UTC")
    if zone is None:
        raise InvalidInputError(
            FieldProblem(
                "timezone",
                f"is missing, and {field} has no offset",
                "add timezone (an IANA name), or an offset to the time",
            )
        )
    return ZonedInstant(_at_wall(wall, ZoneInfo(zone), disambiguation, field), zone)


def _fraction(digits: str | None) -> timedelta:
    """A fraction of a second in whole milliseconds, rounded up."""
    nanoseconds = int((digits or "0").ljust(9, "0"))
    return timedelta(milliseconds=-(-nanoseconds // 1_000_000))


def _at_offset(wall: datetime, offset: str, text: str, field: str) -> datetime:
    if offset in {"Z", "z"}:
        return wall.replace(tzinfo=UTC)
    hours, minutes = int(offset[1:3]), int(offset[-2:])
    ahead = timedelta(hours=hours, minutes=minutes) * (-1 if offset[0] == "-" else 1)
    try:
        if hours > 23 or minutes > 59:
            raise ValueError
        return (wall - ahead).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidInputError(
            FieldProblem(field, f"{text[:64]!r} has no possible offset", f"write {_EXAMPLES}")
        ) from None


def _at_wall(wall: datetime, zone: ZoneInfo, choice: Disambiguation | None, field: str) -> datetime:
    try:
        # fold=0 reads by the offset before a change, fold=1 by the one after it (PEP 495).
        by_fold = [wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
        exists = by_fold[0].astimezone(zone).replace(tzinfo=None, fold=0) == wall
    except OverflowError:
        raise InvalidInputError(
            FieldProblem(field, f"{wall.isoformat()} is out of range", f"write {_EXAMPLES}")
        ) from None
    earlier, later = sorted(by_fold)
    if earlier == later:
        return earlier
    if choice is not None:
        return earlier if choice == "earlier" else later
    what = "happens twice" if exists else "does not exist"
    first, second = (
        item.astimezone(zone).isoformat(timespec="seconds") for item in (earlier, later)
    )
    raise InvalidInputError(
        FieldProblem(
            field,
            f"{wall.isoformat(timespec='seconds')} {what} in {zone.key}: the clocks change; "
            f"the nearest valid instants are {first} and {second}",
            f"send {first} or {second}, or disambiguation `earlier` or `later`",
        )
    )


def check_window(instant: ZonedInstant, now: datetime, *, field: str = "scheduledAt") -> None:
    """Refuse an instant before `now` (PostgreSQL's) or beyond the horizon; InvalidInputError."""
    if instant.at < now:
        raise InvalidInputError(
            FieldProblem(
                field,
                f"{PAST_MESSAGE}: {iso_z(instant.at)} ({instant.local_text} {instant.zone}) is "
                f"before now, {iso_z(now)}",
                "choose a later instant, or POST /api/publishing to publish now",
            )
        )
    if instant.at > now + HORIZON:
        raise InvalidInputError(
            FieldProblem(
                field,
                f"{iso_z(instant.at)} is more than {HORIZON.days} days ahead of now, {iso_z(now)}",
                f"choose an instant until {iso_z(now + HORIZON)}",
            )
        )

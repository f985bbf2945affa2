"""What a person wishes to be told, by which channel, and when not.

Five kinds, two channels. Quiet hours are wall time in the person's zone: what falls into them waits for
their end, on both channels. A post that failed, or will fail unless somebody acts, passes through them:
its slot may be gone by the morning. Who wants even that held back says so (`urgent_passes`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from minitik_dagster.notifications.catch_up import queue_published
from minitik_dagster.notifications.events import PUBLICATION_FAILED, PUBLICATION_PUBLISHED
from minitik_dagster.notifications.kinds import DEFAULTS, Channel, Kind
from minitik_dagster.notifications.notices import (
    ACCOUNT_DISCONNECTED,
    ACCOUNT_EXPIRES_SOON,
    ACCOUNT_UNHEALTHY,
    ANALYTICS_UPDATE,
    PUBLICATION_AT_RISK,
    PUBLICATION_REMOVED,
    SCHEDULE_REMINDER,
)

DEFAULT_REMINDER_MINUTES: Final = 60
# From five minutes to a day before.
REMINDER_MINUTES: Final = (5, 1_440)


# Which kind a notice of the outbox belongs to; a sign-in link is none: it always goes out at once.
KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        PUBLICATION_PUBLISHED: Kind.CONTENT_PUBLISHED,
        PUBLICATION_FAILED: Kind.PUBLICATION_FAILED,
        PUBLICATION_AT_RISK: Kind.PUBLICATION_FAILED,
        PUBLICATION_REMOVED: Kind.PUBLICATION_FAILED,
        ANALYTICS_UPDATE: Kind.ANALYTICS_UPDATE,
        ACCOUNT_DISCONNECTED: Kind.ACCOUNT_DISCONNECTED,
        ACCOUNT_UNHEALTHY: Kind.ACCOUNT_DISCONNECTED,
        ACCOUNT_EXPIRES_SOON: Kind.ACCOUNT_DISCONNECTED,
        SCHEDULE_REMINDER: Kind.SCHEDULE_REMINDER,
    }
)
URGENT: Final = frozenset({PUBLICATION_FAILED, PUBLICATION_AT_RISK})


@dataclass(frozen=True)
class QuietHours:
    """From when to when, in the person's wall time; over midnight where `end` is the earlier."""

    start: time
    end: time


@dataclass(frozen=True)
class Preferences:
    """One person's wishes. `choices` holds what differs from DEFAULTS."""

    choices: Mapping[Kind, Mapping[Channel, bool]] = field(default_factory=dict)
    timezone: str = "UTC"
    quiet: QuietHours | None = None
    urgent_passes: bool = True
    reminder_minutes: int = DEFAULT_REMINDER_MINUTES

    def wants(self, kind: Kind, channel: Channel) -> bool:
        """Whether this kind is to be told by this channel."""
        return self.choices.get(kind, {}).get(channel, DEFAULTS[kind][channel])

    def held_until(self, notice: str, now: datetime) -> datetime | None:
        """Return the end of the quiet hours that hold this notice back now, None where none do."""
        if self.quiet is None or (self.urgent_passes and notice in URGENT):
            return None
        return quiet_end(self.quiet, self.timezone, now)


def quiet_end(quiet: QuietHours, zone_name: str, now: datetime) -> datetime | None:
    """Return when the quiet hours end that `now` lies in, in UTC; None outside of them.

    An end that a clock change skips or doubles is read by the offset before the change.
    """
    try:
        zone = ZoneInfo(zone_name)
    except (
        KeyError,
        OSError,
        ValueError,
    ):  # a zone that this machine's data do not have (any more)
        zone = ZoneInfo("UTC")
    today = now.astimezone(zone).date()
    over_midnight = timedelta(days=1) if quiet.end <= quiet.start else timedelta()
    for day in (today - timedelta(days=1), today):
        start = datetime.combine(day, quiet.start, zone).astimezone(UTC)
        end = datetime.combine(day + over_midnight, quiet.end, zone).astimezone(UTC)
        if start <= now < end:
            return end
    return None


# What a statement selects of `notification_preferences n` for `read_row`.
COLUMNS: Final = """n.choices, n.timezone, n."quietFrom" AS quiet_from, n."quietTo" AS quiet_to,
    n."urgentPasses" AS urgent_passes, n."reminderMinutes" AS reminder_minutes"""
_READ: Final = text(f'SELECT {COLUMNS} FROM notification_preferences n WHERE n."userId" = :id')  # noqa: S608
_LOCK: Final = text("SELECT 1 FROM users WHERE id = :id FOR NO KEY UPDATE")
_WRITE: Final = text(
    """
    INSERT INTO notification_preferences ("userId", choices, timezone, "quietFrom", "quietTo",
        "urgentPasses", "reminderMinutes", "updatedAt")
    VALUES (:id, CAST(:choices AS jsonb), :timezone, :quiet_from, :quiet_to, :urgent_passes,
        :reminder_minutes, statement_timestamp() AT TIME ZONE 'UTC')
    ON CONFLICT ("userId") DO UPDATE SET choices = EXCLUDED.choices, timezone = EXCLUDED.timezone,
        "quietFrom" = EXCLUDED."quietFrom", "quietTo" = EXCLUDED."quietTo",
        "urgentPasses" = EXCLUDED."urgentPasses",
        "reminderMinutes" = EXCLUDED."reminderMinutes", "updatedAt" = EXCLUDED."updatedAt"
    """
)


def from_row(row: Mapping[str, Any]) -> Preferences:
    """Read the COLUMNS of a row; the defaults where it has none (an outer join)."""
    if row["choices"] is None:
        return Preferences()
    quiet = None
    if row["quiet_from"] is not None:
        quiet = QuietHours(row["quiet_from"], row["quiet_to"])
    return Preferences(
        choices={
            Kind(kind): {Channel(channel): bool(wanted) for channel, wanted in chosen.items()}
            for kind, chosen in row["choices"].items()
        },
        timezone=row["timezone"],
        quiet=quiet,
        urgent_passes=row["urgent_passes"],
        reminder_minutes=row["reminder_minutes"],
    )


def read_preferences(connection: Session | Connection, user_id: str) -> Preferences:
    """Return a person's wishes."""
    row = connection.execute(_READ, {"id": user_id}).mappings().one_or_none()
    return from_row(dict(row)) if row is not None else Preferences()


def lock_preferences(session: Session, user_id: str) -> Preferences:
    """Return a person's wishes, which nobody else changes until the transaction ends.

    What has happened until now is told by the wishes until now.
    """
    session.execute(_LOCK, {"id": user_id})
    queue_published(session, user_id)
    return read_preferences(session, user_id)


def write_preferences(session: Session, user_id: str, wishes: Preferences) -> None:
    """Keep a person's wishes, in the caller's transaction."""
    differing = {
        kind: {
            channel: wanted
            for channel, wanted in chosen.items()
            if wanted != DEFAULTS[kind][channel]
        }
        for kind, chosen in wishes.choices.items()
    }
    session.execute(
        _WRITE,
        {
            "id": user_id,
            "choices": json.dumps({kind: chosen for kind, chosen in differing.items() if chosen}),
            "timezone": wishes.timezone,
            "quiet_from": wishes.quiet.start if wishes.quiet else None,
            "quiet_to": wishes.quiet.end if wishes.quiet else None,
            "urgent_passes": wishes.urgent_passes,
            "reminder_minutes": wishes.reminder_minutes,
        },
    )

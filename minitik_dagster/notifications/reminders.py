"""Reminders of scheduled posts: one per job and instant, as long before it as its owner wishes."""

from typing import Final

from sqlalchemy import Connection, text

from minitik_dagster.notifications.event_queries import NOW, instant
from minitik_dagster.notifications.kinds import Kind, wanted
from minitik_dagster.notifications.notices import SCHEDULE_REMINDER
from minitik_dagster.notifications.preferences import DEFAULT_REMINDER_MINUTES

_AT = instant('j."scheduledAt"')
_LEAD = f'make_interval(mins => COALESCE(n."reminderMinutes", {DEFAULT_REMINDER_MINUTES}))'
# What was scheduled with less notice than that needs no reminder; moved, a job gets another one.
_QUEUE: Final = text(
    f"""
    INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
    SELECT 'reminder:' || j.id || ':' || {_AT}, '{SCHEDULE_REMINDER}', jsonb_build_object(
        'userId', c."userId", 'contentId', c.id, 'scheduledJobId', j.id, 'scheduledAt', {_AT}),
        {NOW}, 0, {NOW}
    FROM scheduled_jobs j JOIN contents c ON c.id = j."contentId"
    LEFT JOIN notification_preferences n ON n."userId" = c."userId"
    WHERE j.status = 'PENDING' AND j."scheduledAt" > {NOW}
        AND j."scheduledAt" <= {NOW} + make_interval(mins => GREATEST({DEFAULT_REMINDER_MINUTES},
            (SELECT max("reminderMinutes") FROM notification_preferences)))
        AND j."scheduledAt" <= {NOW} + {_LEAD} AND j."createdAt" <= j."scheduledAt" - {_LEAD}
        AND {wanted(Kind.SCHEDULE_REMINDER, 'c."userId"')}
    ON CONFLICT (id) DO NOTHING RETURNING id
    """  # noqa: S608 - constants
)


def remind(connection: Connection) -> int:
    """Queue a reminder for each job whose time for it has come; return how many were new."""
    return len(connection.execute(_QUEUE).all())

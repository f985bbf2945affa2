"""Every check of a wish without side effects, all findings at once."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from minitik_dagster.errors import InvalidInputError
from minitik_dagster.scheduling.foresight import VALIDATE_SECONDS, count_uploads, look_ahead
from minitik_dagster.scheduling.instants import Disambiguation, check_window, resolve
from minitik_dagster.scheduling.rules import (
    Examination,
    ReferenceNotFoundError,
    Wish,
    database_now,
    examine,
)
from minitik_dagster.settings import Settings


@dataclass(frozen=True)
class Checked:
    """What was found, and the instant that was meant; None where that is unclear."""

    found: Examination
    at: datetime | None


def validate(
    engine: Engine,
    settings: Settings,
    wish: Wish,
    *,
    max_lateness: timedelta,
    scheduled_at: str | None = None,
    zone: str | None = None,
    disambiguation: Disambiguation | None = None,
) -> Checked:
    """Run the checks of scheduling, or of publishing now where no time is given; ask the platforms.

    Raises ReferenceNotFoundError when the content is not there or not the caller's; everything else,
    a bad time too, is among the findings.
    """
    with Session(engine, expire_on_commit=False) as session, session.begin():
        now = database_now(session)
        at, found = _examined(session, wish, now, scheduled_at, zone, disambiguation)
        session.expunge_all()
    seen = look_ahead(engine, settings, found, at or now, max_lateness, seconds=VALIDATE_SECONDS)
    seen.refused += count_uploads(engine, settings, found, at or now)
    seen.add_to(found)
    return Checked(found, at)


def _examined(
    session: Session,
    wish: Wish,
    now: datetime,
    scheduled_at: str | None,
    zone: str | None,
    disambiguation: Disambiguation | None,
) -> tuple[datetime | None, Examination]:
    at: datetime | None = now
    problems: InvalidInputError | None = None
    if scheduled_at is not None:
        try:
            when = resolve(scheduled_at, zone, disambiguation=disambiguation)
            at = when.at
            check_window(when, now)
        except InvalidInputError as error:
            problems = error
            at = None
    found = examine(session, wish, at or now)
    if found.content is None:
        raise ReferenceNotFoundError(*found.missing)
    if problems is not None:
        found.invalid.extend(problems.problems)
    return at, found

"""Every check of a wish without side effects, all findings at once."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from minitik_dagster.errors import InvalidInputError
from minitik_dagster.scheduling.instants import Disambiguation, check_window, resolve
from minitik_dagster.scheduling.rules import Examination, ReferenceNotFoundError, Wish, examine
from minitik_dagster.scheduling.schedule import database_now


@dataclass(frozen=True)
class Checked:
    """What was found, and the instant that was meant; None where that is unclear."""

    found: Examination
    at: datetime | None


def validate(
    session: Session,
    wish: Wish,
    *,
    scheduled_at: str | None = None,
    zone: str | None = None,
    disambiguation: Disambiguation | None = None,
) -> Checked:
    """Run the checks of scheduling, or of publishing now where no time is given.

    Raises ReferenceNotFoundError when the content is not there or not the caller's; everything else,
    a bad time too, is among the findings.
    """
    now = database_now(session)
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
    return Checked(found, at)

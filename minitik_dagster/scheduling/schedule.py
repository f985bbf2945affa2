"""Scheduling: one job and one publication per account, in one transaction, or nothing."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Content, Publication, ScheduledJob
from minitik_dagster.db.stages import STATUS_OF, Stage
from minitik_dagster.db.types import JobPriority, JobStatus
from minitik_dagster.errors import FieldProblem
from minitik_dagster.ids import new_id
from minitik_dagster.notifications.events import tell_changes
from minitik_dagster.scheduling.foresight import Foresight
from minitik_dagster.scheduling.instants import ZonedInstant, check_window
from minitik_dagster.scheduling.lead import prepare_at
from minitik_dagster.scheduling.rollup import ROLL_UP_CONTENT
from minitik_dagster.scheduling.rules import Examination, Target, Wish, database_now, examine, is_id

DEFAULT_MAX_LATENESS: Final = timedelta(hours=6)
# A dispatcher asleep is woken only for what it could have to begin soon; the sensor finds the rest.
_NOTIFY_WITHIN: Final = timedelta(minutes=30)
_LOCK_USER: Final = text("SELECT 1 FROM users WHERE id = :user_id FOR NO KEY UPDATE")
_LOCK_CONTENTS: Final = text(
    'SELECT 1 FROM contents WHERE id = ANY(:ids) AND "userId" = :user_id ORDER BY id FOR UPDATE'
)
_ROLL_UP: Final = text(ROLL_UP_CONTENT)
_MAX_ATTEMPTS: Final = 3  # the old system's column; the engine's own policy decides


@dataclass(frozen=True)
class Scheduled:
    """What was created."""

    job: ScheduledJob
    publications: tuple[Publication, ...]
    when: ZonedInstant
    warnings: tuple[FieldProblem, ...]


def schedule(
    session: Session,
    wish: Wish,
    when: ZonedInstant,
    *,
    priority: JobPriority = JobPriority.NORMAL,
    max_lateness: timedelta = DEFAULT_MAX_LATENESS,
    foresight: Foresight | None = None,
) -> Scheduled:
    """Schedule a wish at an instant; `foresight` is what the platforms said of it beforehand.

    Raises InvalidInputError (also for a past instant), ReferenceNotFoundError or RuleRefusedError;
    then nothing was written. The caller's transaction commits it.
    """
    queue_up(session, wish.user_id, (wish.content_id,))
    now = database_now(session)
    check_window(when, now)
    return _create(session, wish, when, now, priority, max_lateness, foresight)


def publish_now(
    session: Session,
    wish: Wish,
    *,
    priority: JobPriority = JobPriority.NORMAL,
    max_lateness: timedelta = DEFAULT_MAX_LATENESS,
    foresight: Foresight | None = None,
) -> Scheduled:
    """Schedule a wish at PostgreSQL's present instant. Raises as `schedule`."""
    queue_up(session, wish.user_id, (wish.content_id,))
    now = database_now(session)
    return _create(session, wish, ZonedInstant(now, "UTC"), now, priority, max_lateness, foresight)


def _create(
    session: Session,
    wish: Wish,
    when: ZonedInstant,
    now: datetime,
    priority: JobPriority,
    max_lateness: timedelta,
    foresight: Foresight | None,
) -> Scheduled:
    examination = examine(session, wish, when.at)
    if foresight is not None:
        foresight.add_to(examination)
    content = examination.require()
    job = ScheduledJob(
        id=new_id(),
        content_id=content.id,
        account_ids=list(wish.account_ids),
        scheduled_at=when.at,
        timezone=when.zone,
        local_time=when.local_text,
        priority=priority,
        status=JobStatus.PENDING,
        bull_job_id=None,
        attempts=0,
        max_attempts=_MAX_ATTEMPTS,
        error=None,
        processed_at=None,
        completed_at=None,
        created_at=now,
        updated_at=now,
    )
    session.add(job)
    session.flush()
    publications = tuple(
        _publication(job, content, target, now, int(max_lateness.total_seconds()))
        for target in _ordered(examination, wish)
    )
    session.add_all(publications)
    content.scheduled_at = when.at
    content.updated_at = now
    session.flush()
    session.execute(_ROLL_UP, {"content_id": content.id})
    tell_changes(session, [item.id for item in publications])
    notify_if_soon(session, when.at, now)
    return Scheduled(job, publications, when, tuple(examination.warnings))


def queue_up(session: Session, user_id: str, content_ids: Iterable[str]) -> None:
    """Queue up behind the user's and the contents' other writers, in this order everywhere.

    The user's lock makes the tier's limit hold under concurrency (it still lets contents be added), a
    content's is the one that the engine's roll-ups and a deletion take.
    """
    owner = {"user_id": user_id}
    session.execute(_LOCK_USER, owner)
    if ids := [one for one in content_ids if is_id(one)]:
        session.execute(_LOCK_CONTENTS, owner | {"ids": ids})


def _ordered(examination: Examination, wish: Wish) -> list[Target]:
    by_id = {target.account.id: target for target in examination.targets}
    return [by_id[account_id] for account_id in wish.account_ids]


def _publication(
    job: ScheduledJob, content: Content, target: Target, now: datetime, max_lateness_seconds: int
) -> Publication:
    account = target.account
    return Publication(
        id=new_id(),
        content_id=content.id,
        account_id=account.id,
        platform=account.platform,
        status=STATUS_OF[Stage.SCHEDULED],
        created_at=now,
        updated_at=now,
        scheduled_job_id=job.id,
        stage=Stage.SCHEDULED.value,
        due_at=job.scheduled_at,
        prepare_at=prepare_at(account.platform, job.scheduled_at, content.file_size or 0),
        next_attempt_at=None,
        attempts=0,
        priority=job.priority,
        options=target.options,
        revision=0,
        lease_token=0,
        max_lateness=max_lateness_seconds,
        confirm_polls=0,
    )


def notify_if_soon(session: Session, due_at: datetime, now: datetime) -> None:
    """Wake a sleeping dispatcher at commit, where the post is due soon (a hint, not a clock)."""
    if due_at - now <= _NOTIFY_WITHIN:
        session.execute(text("SELECT pg_notify('minitik_due', '')"))

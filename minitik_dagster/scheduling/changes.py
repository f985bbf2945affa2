"""Cancel and move: honoured up to the commit call, refused with the truth after it.

The row lock is the one that the engine's commit transaction takes (engine.md R6). Revision and lease
token rise, so a dispatcher that prepares the post loses its lease and can commit nothing old.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Account, Content, Publication, ScheduledJob
from minitik_dagster.db.stages import FINAL, STATUS_OF, Stage
from minitik_dagster.db.types import JobPriority
from minitik_dagster.errors import (
    FieldProblem,
    InvalidInputError,
    RuleRefusedError,
    StateConflictError,
)
from minitik_dagster.notifications.events import tell_changes
from minitik_dagster.scheduling.choices import check_shape, resolve_options
from minitik_dagster.scheduling.discard_queries import DROP_HANDLES
from minitik_dagster.scheduling.discards import Undone
from minitik_dagster.scheduling.duplicates import duplicates
from minitik_dagster.scheduling.foresight import (
    HORIZON,
    SCHEDULE_SECONDS,
    Foresight,
    count_uploads,
    look_ahead,
)
from minitik_dagster.scheduling.instants import ZonedInstant, check_window
from minitik_dagster.scheduling.jobs import find_job
from minitik_dagster.scheduling.lead import prepare_at
from minitik_dagster.scheduling.rollup import LOCK_CONTENT, ROLL_UP_CONTENT, ROLL_UP_JOB
from minitik_dagster.scheduling.rules import Examination, Target, database_now
from minitik_dagster.scheduling.schedule import DEFAULT_MAX_LATENESS, notify_if_soon
from minitik_dagster.scheduling.upload_day import upload_day
from minitik_dagster.settings import Settings

CHANGEABLE: Final = frozenset(
    {
        Stage.SCHEDULED,
        Stage.PREPARING,
        Stage.PREPARED,
        Stage.HELD,
        Stage.PARKED,
        Stage.PAUSED,
    }
)
_SAYING: Final = {
    Stage.COMMITTING: "being sent",
    Stage.UNKNOWN: "being settled: its answer was lost and the platform is being asked",
    Stage.REVIEW: "waiting for a person's review",
    Stage.CONFIRMING: "already sent",
    Stage.LIVE: "already live",
    Stage.REMOVED: "already sent",
    Stage.FAILED: "already failed",
    Stage.CANCELLED: "already cancelled",
}
_OPEN_COMMITS: Final = text(
    """
    SELECT "publicationId" FROM publication_steps
    WHERE "publicationId" = ANY(:ids) AND "canPublish" AND "endedAt" IS NULL
    """
)
# What the content still waits for; empty when nothing is left.
_NEXT_DUE: Final = text(
    """
    UPDATE contents SET "scheduledAt" = (
        SELECT min("dueAt") FROM publications
        WHERE "contentId" = :content_id AND stage NOT IN ('live','failed','cancelled','removed'))
    WHERE id = :content_id
    """
)


@dataclass(frozen=True)
class Change:
    """What is to change of a job; None leaves it as it is."""

    when: ZonedInstant | None = None
    priority: JobPriority | None = None
    max_lateness: timedelta | None = None
    options: dict[str, Any] | None = None
    allow_duplicate: bool = False


def foresee_change(
    engine: Engine, settings: Settings, user_id: str, job_id: str, wanted: Change
) -> Foresight:
    """Look ahead for a change of time or options, before the transaction that makes it.

    Empty where the rules refuse it anyway. Raises NotFoundError.
    """
    if wanted.when is None and wanted.options is None:
        return Foresight()
    with Session(engine, expire_on_commit=False) as session, session.begin():
        job = find_job(session, user_id, job_id)
        now = database_now(session)
        found = Examination(content=session.get_one(Content, job.content_id))
        rows = session.scalars(
            select(Publication).where(
                Publication.scheduled_job_id == job.id,
                Publication.stage.in_([stage.value for stage in CHANGEABLE]),
            )
        ).all()
        assert found.content is not None
        lateness = wanted.max_lateness or DEFAULT_MAX_LATENESS
        for item in rows:
            account = session.get_one(Account, item.account_id)
            target = Target(account, dict(item.options or {}))
            if wanted.options is not None:
                choices = resolve_options(wanted.options, found.content, account)
                if choices.invalid or choices.refused:
                    return Foresight()
                target = Target(account, choices.options, choices.chosen)
            found.targets.append(target)
            if wanted.max_lateness is None and item.max_lateness is not None:
                lateness = timedelta(seconds=item.max_lateness)
        due_at = wanted.when.at if wanted.when is not None else job.scheduled_at
        new_day = upload_day(due_at) != upload_day(job.scheduled_at)
        session.expunge_all()
    soon = due_at - now <= HORIZON
    seen = look_ahead(
        engine, settings, found, due_at, lateness, seconds=SCHEDULE_SECONDS, ask=soon, renew=True
    )
    if new_day:
        seen.refused += count_uploads(engine, settings, found, due_at)
    return seen


def cancel(session: Session, user_id: str | None, job_id: str) -> tuple[Undone, ...]:
    """Cancel what of a job has not been sent; the caller's transaction commits it.

    `user_id` None is an operator, who may cancel anybody's. Returns what becomes of what was prepared.

    Raises NotFoundError, and StateConflictError when something is being sent or nothing is left.
    """
    job, publications = _locked(session, user_id, job_id)
    waiting = [item for item in publications if Stage(item.stage or "") not in FINAL]
    changeable = _require_changeable(session, waiting or publications)
    undone = withdraw(session, changeable)
    _roll_up(session, job)
    return undone


def withdraw(session: Session, publications: Sequence[Publication]) -> tuple[Undone, ...]:
    """Cancel publications that stand at CHANGEABLE, have no open commit and are locked by the caller.

    Rolling up is the caller's. Returns what becomes of what was prepared.
    """
    now = database_now(session)
    for item in publications:
        _take_back(item, now)
        item.stage = Stage.CANCELLED.value
        item.status = STATUS_OF[Stage.CANCELLED]
        item.error = "cancelled before it was sent"
        item.error_code = "cancelled"
        item.error_fix = None
        item.hold_reason = None
    return _undo(session, publications)


def hold(session: Session, publications: Sequence[Publication], reason: str) -> tuple[Undone, ...]:
    """Hold publications that stand at CHANGEABLE, have no open commit and are locked by the caller.

    What was prepared is undone; a release prepares anew. Rolling up is the caller's.
    """
    now = database_now(session)
    for item in publications:
        _take_back(item, now)
        item.stage = Stage.HELD.value
        item.status = STATUS_OF[Stage.HELD]
        item.hold_reason = reason
    return _undo(session, publications)


def refuse_unchangeable(session: Session, publications: Sequence[Publication]) -> None:
    """Raise StateConflictError, saying which and why, unless each may be changed."""
    _require_changeable(session, publications)


def roll_up_all(session: Session, publications: Sequence[Publication]) -> None:
    """Roll up the jobs and contents of publications that were held or withdrawn.

    The caller has locked the contents.
    """
    session.flush()
    for job_id in sorted({item.scheduled_job_id for item in publications if item.scheduled_job_id}):
        session.execute(text(ROLL_UP_JOB), {"job_id": job_id})
    for content_id in sorted({item.content_id for item in publications}):
        session.execute(text(ROLL_UP_CONTENT), {"content_id": content_id})
        session.execute(_NEXT_DUE, {"content_id": content_id})
    session.expire_all()


def change(
    session: Session,
    user_id: str | None,
    job_id: str,
    wanted: Change,
    *,
    foresight: Foresight | None = None,
) -> tuple[Undone, ...]:
    """Move a job, or change its priority, lateness or options; all of its posts or none.

    A post that only now would be one that the account has already is refused without `allow_duplicate`.
    `foresight` is what the platforms said of the change beforehand.

    Returns what becomes of what was prepared: it is not used any more.
    Raises NotFoundError, InvalidInputError (a past instant, bad options), RuleRefusedError, and
    StateConflictError when one of its posts has been sent, is being sent, or has ended.
    """
    job, publications = _locked(session, user_id, job_id)
    kept = [item for item in publications if item.stage != Stage.CANCELLED.value]
    changeable = _require_changeable(session, kept or publications)
    now = database_now(session)
    if foresight is not None and foresight.refused:
        raise RuleRefusedError(*foresight.refused)
    twice = _duplicates(session, job, changeable)
    if wanted.when is not None:
        check_window(wanted.when, now)
        job.scheduled_at, job.timezone = wanted.when.at, wanted.when.zone
        job.local_time = wanted.when.local_text
    if wanted.priority is not None:
        job.priority = wanted.priority
    job.updated_at = now
    content = session.get_one(Content, job.content_id)
    for item in changeable:
        _take_back(item, now)
        if Stage(item.stage or "") in {Stage.PREPARING, Stage.PREPARED}:
            item.stage = Stage.SCHEDULED.value
            item.status = STATUS_OF[Stage.SCHEDULED]
        item.due_at = job.scheduled_at
        item.prepare_at = prepare_at(item.platform, job.scheduled_at, content.file_size or 0)
        item.priority = job.priority
        if wanted.max_lateness is not None:
            item.max_lateness = int(wanted.max_lateness.total_seconds())
    if wanted.options is not None:
        _new_options(session, content, changeable, wanted.options)
    if not wanted.allow_duplicate:
        session.flush()
        now_twice = _duplicates(session, job, changeable)
        if new := [problem for name, problem in now_twice.items() if name not in twice]:
            raise RuleRefusedError(*new)
    undone = _undo(session, changeable)
    _roll_up(session, job)
    notify_if_soon(session, job.scheduled_at, now)
    return undone


def _duplicates(
    session: Session, job: ScheduledJob, publications: Sequence[Publication]
) -> dict[str, FieldProblem]:
    """Return, by account, which of a job's posts its account has already, as they stand now."""
    content = session.get_one(Content, job.content_id)
    found = {}
    for item in publications:
        caption = {item.account_id: str((item.options or {}).get("caption") or "")}
        for problem in duplicates(
            session, content, [item.account_id], caption, job.scheduled_at, job_id=job.id
        ):
            found[item.account_id] = problem
    return found


def _locked(
    session: Session, user_id: str | None, job_id: str
) -> tuple[ScheduledJob, Sequence[Publication]]:
    """Return the caller's job and its publications, locked: content first, as the engine does."""
    job = find_job(session, user_id, job_id)
    session.execute(text(LOCK_CONTENT), {"content_id": job.content_id})
    session.refresh(job, with_for_update=True)
    publications = session.scalars(
        select(Publication)
        .where(Publication.scheduled_job_id == job.id)
        .order_by(Publication.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    if not publications:
        raise StateConflictError(
            f"job {job.id} belongs to the old system's queue; an operator runs: minitik adopt",
            state=job.status.value,
        )
    return job, publications


def _require_changeable(
    session: Session, publications: Sequence[Publication]
) -> Sequence[Publication]:
    """Return the publications if each may be changed; StateConflictError saying why not."""
    ids = [item.id for item in publications]
    being_sent = open_commits(session, ids)
    for item in publications:
        stage = Stage(item.stage or "")
        if item.id in being_sent and stage is not Stage.UNKNOWN:
            stage = Stage.COMMITTING
        if item.id in being_sent or stage not in CHANGEABLE:
            raise StateConflictError(
                f"the post on {item.platform.value} account {item.account_id} is "
                f"{_SAYING.get(stage, stage.value)}; nothing was changed",
                state=stage.value,
            )
    return publications


def open_commits(session: Session, publication_ids: Sequence[str]) -> set[str]:
    """Return which of these publications have a commit step without an end."""
    return set(session.execute(_OPEN_COMMITS, {"ids": list(publication_ids)}).scalars())


def _undo(session: Session, publications: Sequence[Publication]) -> tuple[Undone, ...]:
    """Drop what was prepared, with the note to discard it where that needs a call; tell the change."""
    session.flush()
    tell_changes(session, [item.id for item in publications])
    rows = session.execute(text(DROP_HANDLES), {"ids": [item.id for item in publications]})
    return tuple(Undone.of(row) for row in rows.mappings())


def _take_back(item: Publication, now: datetime) -> None:
    """Take the post from whoever prepares it: what was read before this cannot be committed."""
    item.revision = (item.revision or 0) + 1
    item.lease_token = (item.lease_token or 0) + 1
    item.lease_owner = None
    item.lease_expires_at = None
    item.next_attempt_at = None
    item.updated_at = now


def _new_options(
    session: Session,
    content: Content,
    publications: Sequence[Publication],
    options: dict[str, Any],
) -> None:
    account_ids = tuple(item.account_id for item in publications)
    invalid: list[FieldProblem] = check_shape(options, account_ids)
    refused: list[FieldProblem] = []
    for item in publications if not invalid else ():
        account = session.get_one(Account, item.account_id)
        choices = resolve_options(options, content, account)
        invalid.extend(problem for problem in choices.invalid if problem not in invalid)
        refused.extend(problem for problem in choices.refused if problem not in refused)
        item.options = choices.options
    if invalid:
        raise InvalidInputError(*invalid)
    if refused:
        raise RuleRefusedError(*refused)


def _roll_up(session: Session, job: ScheduledJob) -> None:
    session.execute(text(ROLL_UP_JOB), {"job_id": job.id})
    session.execute(text(ROLL_UP_CONTENT), {"content_id": job.content_id})
    session.execute(_NEXT_DUE, {"content_id": job.content_id})
    session.expire_all()

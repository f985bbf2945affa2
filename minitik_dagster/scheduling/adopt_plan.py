"""What adoption would do: each open job of the old system, account by account (see `adopt`)."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Account, Content, Publication, ScheduledJob
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import JobStatus, Platform, PublicationStatus
from minitik_dagster.scheduling.choices import default_privacy, resolve_options

PRIVACY_HOLD: Final = (
    "TikTok's privacy was never chosen; choose it with: minitik adopt --yes --tiktok-privacy LEVEL"
)
_OPEN: Final = (JobStatus.PENDING, JobStatus.ACTIVE)
# Which of several old rows of one content and account speaks for an open job.
_TELLING: Final = {
    PublicationStatus.PUBLISHING: 0,
    PublicationStatus.PUBLISHED: 1,
    PublicationStatus.QUEUED: 2,
    PublicationStatus.FAILED: 3,
}
_HISTORY: Final = {
    PublicationStatus.PUBLISHED: Stage.LIVE,
    PublicationStatus.FAILED: Stage.FAILED,
    PublicationStatus.QUEUED: Stage.PAUSED,
}


@dataclass(frozen=True)
class Move:
    """One publication as it will stand; `row` is the old row it is bound to, if there is one."""

    job: ScheduledJob | None
    content: Content
    account: Account
    due_at: datetime
    row: Publication | None
    stage: Stage
    options: dict[str, Any]
    hold_reason: str | None = None


@dataclass
class Plan:
    """Every move; `history` counts the old rows that only get their stage."""

    jobs: int = 0
    moves: list[Move] = field(default_factory=list)
    history: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def make_plan(
    session: Session,
    tiktok_privacy: str | None,
    *,
    begun: Collection[str] = (),
    only: Collection[str] | None = None,
) -> Plan:
    """Read what there is to take over and decide what becomes of it; changes nothing.

    `begun` are the jobs that a worker of the old system has begun, whatever their rows say; `only` those
    that may be taken over, None for every open one.
    """
    plan = Plan()
    jobs = [job for job in _open_jobs(session) if only is None or job.id in only]
    plan.jobs = len(jobs)
    rows = _old_rows(session, {job.content_id for job in jobs})
    for job in jobs:
        content = session.get_one(Content, job.content_id)
        for account in _accounts(session, job, content, plan.problems):
            waiting = rows[content.id, account.id]
            row = waiting.pop(0) if waiting else None
            plan.moves.append(
                _move(job, content, account, row, tiktok_privacy, begun=job.id in begun)
            )
    bound = {move.row.id for move in plan.moves if move.row is not None}
    plan.moves.extend(_interrupted(session, bound, tiktok_privacy))
    if tiktok_privacy is not None:
        plan.moves.extend(_released(session, tiktok_privacy))
    bound = {move.row.id for move in plan.moves if move.row is not None}
    plan.history = _count_history(session, bound)
    return plan


def _open_jobs(session: Session) -> Sequence[ScheduledJob]:
    ours = exists().where(Publication.scheduled_job_id == ScheduledJob.id)
    return session.scalars(
        select(ScheduledJob)
        .where(ScheduledJob.status.in_(_OPEN), ~ours)
        .order_by(ScheduledJob.scheduled_at, ScheduledJob.id)
    ).all()


def _old_rows(
    session: Session, content_ids: set[str]
) -> defaultdict[tuple[str, str], list[Publication]]:
    """Old rows that may speak for an open job: not those that an ended job accounts for."""
    ended = exists().where(
        ScheduledJob.content_id == Publication.content_id,
        ScheduledJob.status.in_((JobStatus.COMPLETED, JobStatus.FAILED)),
        Publication.account_id == func.any(ScheduledJob.account_ids),
        Publication.status.in_((PublicationStatus.PUBLISHED, PublicationStatus.FAILED)),
    )
    rows: defaultdict[tuple[str, str], list[Publication]] = defaultdict(list)
    for row in session.scalars(
        select(Publication)
        .where(
            Publication.stage.is_(None),
            Publication.scheduled_job_id.is_(None),
            Publication.content_id.in_(content_ids),
            ~ended,
        )
        .order_by(Publication.created_at, Publication.id)
    ):
        rows[row.content_id, row.account_id].append(row)
    for found in rows.values():
        found.sort(key=lambda row: _TELLING[row.status])
    return rows


def _accounts(
    session: Session, job: ScheduledJob, content: Content, problems: list[str]
) -> Iterator[Account]:
    """The job's accounts, each once; what names none of the owner's is reported and left out."""
    if not job.account_ids:
        problems.append(f"job {job.id} names no account: nothing is sent for it")
    for account_id in dict.fromkeys(job.account_ids or ()):
        account = session.get(Account, account_id)
        if account is None or account.user_id != content.user_id:
            problems.append(
                f"job {job.id} names account {account_id}, which is not one of the content's owner"
            )
        else:
            yield account


def _move(
    job: ScheduledJob,
    content: Content,
    account: Account,
    row: Publication | None,
    tiktok_privacy: str | None,
    *,
    begun: bool,
) -> Move:
    status = row.status if row is not None else PublicationStatus.QUEUED
    if status is PublicationStatus.PUBLISHED:
        return Move(job, content, account, job.scheduled_at, row, Stage.LIVE, {})
    if status is PublicationStatus.FAILED:
        return Move(job, content, account, job.scheduled_at, row, Stage.FAILED, {})
    options, reason = _options(content, account, tiktok_privacy)
    if begun or status is PublicationStatus.PUBLISHING or job.status is JobStatus.ACTIVE:
        return Move(job, content, account, job.scheduled_at, row, Stage.REVIEW, options)
    stage = Stage.HELD if reason else Stage.SCHEDULED
    return Move(job, content, account, job.scheduled_at, row, stage, options, reason)


def _options(
    content: Content, account: Account, tiktok_privacy: str | None
) -> tuple[dict[str, Any], str | None]:
    """Resolve what the post will say, as scheduling does; and why it cannot go out, if so."""
    asked: dict[str, Any] = {}
    unknown = account.platform is Platform.TIKTOK and default_privacy(account) is None
    if unknown and tiktok_privacy is not None:
        asked = {"tiktok": {"privacy": tiktok_privacy}}
    choices = resolve_options(asked, content, account)
    if unknown and tiktok_privacy is None:
        return choices.options, PRIVACY_HOLD
    problems = [*choices.invalid, *choices.refused]
    reason = f"{problems[0].message}; {problems[0].fix}" if problems else None
    return choices.options, reason


def _interrupted(session: Session, bound: set[str], tiktok_privacy: str | None) -> Iterator[Move]:
    """Old rows that were being sent and belong to no open job."""
    for row in session.scalars(
        select(Publication)
        .where(Publication.stage.is_(None), Publication.status == PublicationStatus.PUBLISHING)
        .order_by(Publication.id)
    ):
        if row.id in bound:
            continue
        content = session.get_one(Content, row.content_id)
        account = session.get_one(Account, row.account_id)
        options, _ = _options(content, account, tiktok_privacy)
        due_at = content.scheduled_at or row.created_at
        yield Move(None, content, account, due_at, row, Stage.REVIEW, options)


def _released(session: Session, tiktok_privacy: str) -> Iterator[Move]:
    """What an earlier adoption held because the privacy was not known."""
    for row in session.scalars(
        select(Publication)
        .where(Publication.stage == Stage.HELD.value, Publication.hold_reason == PRIVACY_HOLD)
        .order_by(Publication.id)
        .with_for_update()
    ):
        job = session.get(ScheduledJob, row.scheduled_job_id or "")
        content = session.get_one(Content, row.content_id)
        account = session.get_one(Account, row.account_id)
        options, reason = _options(content, account, tiktok_privacy)
        due_at = row.due_at or row.created_at
        stage = Stage.HELD if reason else Stage.SCHEDULED
        yield Move(job, content, account, due_at, row, stage, options, reason)


def _count_history(session: Session, bound: set[str]) -> dict[str, int]:
    rows = session.execute(
        select(Publication.status, func.count())
        .where(Publication.stage.is_(None), Publication.id.not_in(bound))
        .group_by(Publication.status)
    )
    return {_HISTORY[status].value: count for status, count in rows if status in _HISTORY}

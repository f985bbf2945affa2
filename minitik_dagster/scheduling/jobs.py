"""Reading scheduled jobs: one, or a page of them, with their publications."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Content, Publication, ScheduledJob
from minitik_dagster.db.types import JobStatus
from minitik_dagster.errors import FieldProblem, NotFoundError
from minitik_dagster.scheduling.instants import ZonedInstant, zone_names
from minitik_dagster.scheduling.rules import is_id

PAGE_LIMIT: Final = 100


@dataclass(frozen=True)
class JobView:
    """A job, its publications in the order of its accounts, and its instant in its zone."""

    job: ScheduledJob
    publications: tuple[Publication, ...]

    @property
    def when(self) -> ZonedInstant:
        """The instant in the zone it was asked in; UTC where an old row names none that is known."""
        zone = self.job.timezone if self.job.timezone in zone_names() else "UTC"
        return ZonedInstant(self.job.scheduled_at, zone)

    @property
    def local_time(self) -> str:
        """The wall time that was asked for; worked out from the instant in rows that hold none."""
        return self.job.local_time or self.when.local_text

    @property
    def warnings(self) -> tuple[FieldProblem, ...]:
        """Say so where the zone's rules have changed since: the instant stands, its wall time moved."""
        now = self.when.local_text
        if self.local_time == now or self.job.status is not JobStatus.PENDING:
            return ()
        return (
            FieldProblem(
                "scheduledAt",
                f"was asked for as {self.local_time}; the rules of {self.job.timezone} have changed, "
                f"and its instant is {now} there now",
                "send scheduledAt again if the wall time counts and not the instant",
            ),
        )


@dataclass(frozen=True)
class JobPage:
    """A page of jobs and how many there are."""

    items: tuple[JobView, ...]
    total: int


def find_job(session: Session, user_id: str | None, job_id: str) -> ScheduledJob:
    """Return the user's job, anybody's for an operator (None).

    NotFoundError alike for unknown and foreign ids.
    """
    job = None
    if is_id(job_id):
        query = (
            select(ScheduledJob)
            .join(Content, Content.id == ScheduledJob.content_id)
            .where(ScheduledJob.id == job_id)
        )
        if user_id is not None:
            query = query.where(Content.user_id == user_id)
        job = session.scalars(query).one_or_none()
    if job is None:
        raise NotFoundError(f"no scheduled job {job_id[:64]!r}; see GET /api/scheduling")
    return job


def get_job(session: Session, user_id: str | None, job_id: str) -> JobView:
    """Return a job with its publications; NotFoundError as `find_job`."""
    return _views(session, [find_job(session, user_id, job_id)])[0]


def list_jobs(
    session: Session,
    user_id: str | None,
    *,
    status: JobStatus | None = None,
    page: int = 1,
    limit: int = 20,
) -> JobPage:
    """Return a page (from 1) of the user's jobs, everybody's for an operator (None).

    The latest instant first, ties by id.
    """
    wanted = [] if user_id is None else [Content.user_id == user_id]
    if status is not None:
        wanted.append(ScheduledJob.status == status)
    base = select(ScheduledJob).join(Content, Content.id == ScheduledJob.content_id).where(*wanted)
    total = session.scalar(select(func.count()).select_from(base.subquery())) or 0
    jobs = session.scalars(
        base.order_by(ScheduledJob.scheduled_at.desc(), ScheduledJob.id.desc())
        .offset((page - 1) * limit)
        .limit(limit)
    ).all()
    return JobPage(tuple(_views(session, jobs)), total)


def _views(session: Session, jobs: Sequence[ScheduledJob]) -> list[JobView]:
    rows = session.scalars(
        select(Publication).where(Publication.scheduled_job_id.in_([job.id for job in jobs]))
    )
    by_job: dict[str, list[Publication]] = {}
    for row in rows:
        by_job.setdefault(row.scheduled_job_id or "", []).append(row)
    views = []
    for job in jobs:
        order = {account_id: place for place, account_id in enumerate(job.account_ids or [])}
        found = sorted(
            by_job.get(job.id, []),
            key=lambda item: (order.get(item.account_id, len(order)), item.id),
        )
        views.append(JobView(job, tuple(found)))
    return views

"""`/api/scheduling`: schedule, list, read, move and cancel."""

from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Query

from minitik_dagster.accounts.scopes import READS_POSTS
from minitik_dagster.api import request_log
from minitik_dagster.api.auth import AdminDep, Caller, require_scope
from minitik_dagster.api.dependencies import EngineDep, ReadingDep, SessionDep, SettingsDep
from minitik_dagster.api.idempotency import OnceDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.scheduling import (
    ChangeBody,
    ChangedJobView,
    JobPageView,
    QueueMetricsView,
    ScheduleBody,
    ScheduledJobView,
)
from minitik_dagster.db.types import JobStatus
from minitik_dagster.errors import FieldProblem, InvalidInputError
from minitik_dagster.scheduling.changes import Change, cancel, change, foresee_change
from minitik_dagster.scheduling.counts import queue_metrics
from minitik_dagster.scheduling.foresight import foresee
from minitik_dagster.scheduling.instants import resolve
from minitik_dagster.scheduling.jobs import PAGE_LIMIT, get_job, list_jobs
from minitik_dagster.scheduling.schedule import schedule

router = Router(prefix="/api/scheduling", tags=["scheduling"])

Reader = Annotated[Caller, Depends(require_scope(*READS_POSTS))]
Writer = Annotated[Caller, Depends(require_scope("schedule:write"))]


@router.post("", status_code=201, responses=problems(404, 409, 422))
def schedule_post(
    body: ScheduleBody,
    caller: Writer,
    session: SessionDep,
    once: OnceDep,
    engine: EngineDep,
    settings: SettingsDep,
) -> ScheduledJobView:
    """Schedule a content on some accounts at one instant: all of them or none.

    What is due within 24 hours is asked of the platforms first; one that cannot be asked is a warning.
    """
    wish, when, foresight = body.wish(caller.user_id), body.when(), None
    if not once.known(engine):
        foresight = foresee(engine, settings, wish, when.at, body.lateness)
    if (before := once.replay(session, body)) is not None:
        return ScheduledJobView.of(get_job(session, caller.user_id, before["scheduledJobId"]))
    made = schedule(
        session,
        wish,
        when,
        priority=body.priority,
        max_lateness=body.lateness,
        foresight=foresight,
    )
    once.keep(session, body, status=201, created={"scheduledJobId": made.job.id})
    request_log.scheduled(made.publications)
    return ScheduledJobView.created(made)


@router.get("", responses=problems())
def list_scheduled_jobs(
    caller: Reader,
    session: ReadingDep,
    status: JobStatus | None = None,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 20,
) -> JobPageView:
    """List the caller's jobs, the latest instant first."""
    found = list_jobs(session, caller.user_id, status=status, page=page, limit=limit)
    return JobPageView.of(found, page, limit)


@router.get("/stats", responses=problems())
def read_queue_metrics(_admin: AdminDep, session: ReadingDep) -> QueueMetricsView:
    """Count what stands in each queue (admin)."""
    return QueueMetricsView.of(queue_metrics(session))


@router.get("/{job_id}", responses=problems(404))
@router.get("/jobs/{job_id}", responses=problems(404))
def read_scheduled_job(job_id: str, caller: Reader, session: ReadingDep) -> ScheduledJobView:
    """Read one job."""
    return ScheduledJobView.of(get_job(session, caller.user_id, job_id))


@router.patch("/{job_id}", responses=problems(404, 409, 422))
@router.patch("/jobs/{job_id}", responses=problems(404, 409, 422))
def change_scheduled_job(
    job_id: str,
    body: ChangeBody,
    caller: Writer,
    session: SessionDep,
    engine: EngineDep,
    settings: SettingsDep,
) -> ChangedJobView:
    """Move or change a job, up to the commit call: all of its posts or none.

    A new time or new options are checked as at scheduling.
    """
    wanted = _change_of(body)
    foresight = foresee_change(engine, settings, caller.user_id, job_id, wanted)
    undone = change(session, caller.user_id, job_id, wanted, foresight=foresight)
    view = get_job(session, caller.user_id, job_id)
    return ChangedJobView.after(view, undone, foresight.warnings)


@router.delete("/{job_id}", responses=problems(404, 409))
@router.delete("/jobs/{job_id}", responses=problems(404, 409))
def cancel_scheduled_job(job_id: str, caller: Writer, session: SessionDep) -> ChangedJobView:
    """Cancel what of a job has not been sent, and undo what was prepared for it."""
    undone = cancel(session, caller.user_id, job_id)
    return ChangedJobView.after(get_job(session, caller.user_id, job_id), undone)


def _change_of(body: ChangeBody) -> Change:
    if not body.model_fields_set:
        raise InvalidInputError(
            FieldProblem("body", "changes nothing", "send scheduledAt, priority, options, …")
        )
    if body.scheduled_at is None and (body.timezone or body.disambiguation):
        raise InvalidInputError(
            FieldProblem("scheduledAt", "is missing beside timezone", "send the new time too")
        )
    when = None
    if body.scheduled_at is not None:
        when = resolve(body.scheduled_at, body.timezone, disambiguation=body.disambiguation)
    return Change(
        when=when,
        priority=body.priority,
        max_lateness=timedelta(seconds=body.max_lateness) if body.max_lateness else None,
        options=body.options,
        allow_duplicate=body.allow_duplicate,
    )

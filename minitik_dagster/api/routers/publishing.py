"""`/api/publishing`: publish now, check without side effects, follow."""

from typing import Annotated

from fastapi import APIRouter, Depends

from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.dependencies import SessionDep
from minitik_dagster.api.idempotency import OnceDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.schemas.publishing import ProgressAnswer, ValidationAnswer
from minitik_dagster.api.schemas.scheduling import PublishBody, ScheduledJobView, ValidateBody
from minitik_dagster.scheduling.jobs import get_job
from minitik_dagster.scheduling.progress import content_progress
from minitik_dagster.scheduling.schedule import publish_now
from minitik_dagster.scheduling.validation import validate

router = APIRouter(prefix="/api/publishing", tags=["publishing"])

Reader = Annotated[Caller, Depends(require_scope("publish:read"))]
Writer = Annotated[Caller, Depends(require_scope("publish:write"))]


@router.post("", status_code=202, responses=problems(404, 409, 422))
def publish_post(
    body: PublishBody, caller: Writer, session: SessionDep, once: OnceDep
) -> ScheduledJobView:
    """Publish a content on some accounts now: a job that is due at once."""
    if (before := once.replay(session, body)) is not None:
        return ScheduledJobView.of(get_job(session, caller.user_id, before["scheduledJobId"]))
    made = publish_now(
        session, body.wish(caller.user_id), priority=body.priority, max_lateness=body.lateness
    )
    once.keep(session, body, status=202, created={"scheduledJobId": made.job.id})
    return ScheduledJobView.created(made)


@router.post("/validate", responses=problems(404))
def validate_post(body: ValidateBody, caller: Reader, session: SessionDep) -> ValidationAnswer:
    """Run every check and tell all findings at once; changes nothing."""
    checked = validate(
        session,
        body.wish(caller.user_id),
        scheduled_at=body.scheduled_at,
        zone=body.timezone,
        disambiguation=body.disambiguation,
    )
    return ValidationAnswer.of(checked.found).model_copy(update={"scheduled_at": checked.at})


@router.get("/{content_id}", responses=problems(404))
def read_publications(content_id: str, caller: Reader, session: SessionDep) -> ProgressAnswer:
    """Follow a content's posts: stage, times, lateness, error, and every step of the ledger."""
    return ProgressAnswer.of(content_progress(session, caller.user_id, content_id))

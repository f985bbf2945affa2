"""`/api/publishing`: publish now, check without side effects, follow, roll back."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends

from minitik_dagster.accounts.scopes import READS_POSTS
from minitik_dagster.api import request_log
from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.dependencies import EngineDep, ReadingDep, SessionDep, SettingsDep
from minitik_dagster.api.idempotency import OnceDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.publishing import (
    ProgressAnswer,
    RolledBackAnswer,
    ValidationAnswer,
)
from minitik_dagster.api.schemas.scheduling import PublishBody, ScheduledJobView, ValidateBody
from minitik_dagster.publishing.rollback import roll_back
from minitik_dagster.scheduling.foresight import NOW_SECONDS, foresee
from minitik_dagster.scheduling.jobs import get_job
from minitik_dagster.scheduling.progress import content_progress
from minitik_dagster.scheduling.schedule import publish_now
from minitik_dagster.scheduling.validation import validate

router = Router(prefix="/api/publishing", tags=["publishing"])

Reader = Annotated[Caller, Depends(require_scope(*READS_POSTS))]
Writer = Annotated[Caller, Depends(require_scope("publish"))]


@router.post("", status_code=202, responses=problems(404, 409, 422))
def publish_post(
    body: PublishBody,
    caller: Writer,
    session: SessionDep,
    once: OnceDep,
    engine: EngineDep,
    settings: SettingsDep,
) -> ScheduledJobView:
    """Publish a content on some accounts now: a job that is due at once.

    The platforms are asked first whether they would take it, for less than a second.
    """
    wish, foresight = body.wish(caller.user_id), None
    if not once.known(engine):
        now = datetime.now(UTC)
        foresight = foresee(engine, settings, wish, now, body.lateness, seconds=NOW_SECONDS)
    if (before := once.replay(session, body)) is not None:
        return ScheduledJobView.of(get_job(session, caller.user_id, before["scheduledJobId"]))
    made = publish_now(
        session,
        wish,
        priority=body.priority,
        max_lateness=body.lateness,
        foresight=foresight,
    )
    once.keep(session, body, status=202, created={"scheduledJobId": made.job.id})
    request_log.scheduled(made.publications)
    return ScheduledJobView.created(made)


@router.post("/validate", responses=problems(404))
def validate_post(
    body: ValidateBody, caller: Reader, engine: EngineDep, settings: SettingsDep
) -> ValidationAnswer:
    """Run every check, ask the platforms live, and tell all findings at once; changes nothing."""
    checked = validate(
        engine,
        settings,
        body.wish(caller.user_id),
        max_lateness=body.lateness,
        scheduled_at=body.scheduled_at,
        zone=body.timezone,
        disambiguation=body.disambiguation,
    )
    return ValidationAnswer.of(checked.found).model_copy(update={"scheduled_at": checked.at})


@router.get("/{content_id}", responses=problems(404))
def read_publications(content_id: str, caller: Reader, session: ReadingDep) -> ProgressAnswer:
    """Follow a content's posts: stage, times, lateness, error, and every step of the ledger."""
    return ProgressAnswer.of(content_progress(session, caller.user_id, content_id))


@router.delete("/{content_id}", responses=problems(404, 409))
def delete_publications(
    content_id: str, caller: Writer, engine: EngineDep, settings: SettingsDep
) -> RolledBackAnswer:
    """Roll a content back: cancel what was not sent, delete what can be deleted, say what cannot.

    Answers within some 20 s; safe to repeat. Nothing is changed while one of its posts is being sent.
    """
    actor = f"user {caller.user_id}"
    done = roll_back(engine, settings, caller.user_id, content_id, actor=actor)
    return RolledBackAnswer.of(done)


@router.post("/{content_id}/rollback", responses=problems(404, 409))
def rollback_publications(
    content_id: str, caller: Writer, engine: EngineDep, settings: SettingsDep
) -> RolledBackAnswer:
    """Roll a content back, as DELETE does."""
    return delete_publications(content_id, caller, engine, settings)

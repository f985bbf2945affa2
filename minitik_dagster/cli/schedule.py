"""`minitik schedule`: the scheduled jobs of everybody, and cancelling one."""

from typing import Annotated

import typer

from minitik_dagster.cli.output import AsJson, listing, say
from minitik_dagster.cli.session import transaction


def register(app: typer.Typer) -> None:
    """Add the sub-commands."""
    group = typer.Typer(no_args_is_help=True, help="Scheduled jobs.")
    group.command("list")(list_scheduled)
    group.command("cancel")(cancel)
    app.add_typer(group, name="schedule")


def list_scheduled(
    status: Annotated[
        str | None, typer.Option(help="Only PENDING, ACTIVE, COMPLETED, FAILED or CANCELLED.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List jobs, the latest instant first."""
    from sqlalchemy import select

    from minitik_dagster.db.models import Content, ScheduledJob
    from minitik_dagster.db.types import JobStatus

    if status is not None and status.upper() not in JobStatus.__members__:
        raise typer.BadParameter(f"status {status!r} is not one of {', '.join(JobStatus)}")
    query = select(ScheduledJob, Content).join(Content, Content.id == ScheduledJob.content_id)
    if status is not None:
        query = query.where(ScheduledJob.status == JobStatus(status.upper()))
    query = query.order_by(ScheduledJob.scheduled_at.desc(), ScheduledJob.id.desc()).limit(limit)
    with transaction() as session:
        rows = [
            {
                "id": job.id,
                "scheduledAt": job.scheduled_at,
                "timezone": job.timezone,
                "priority": job.priority.value,
                "status": job.status.value,
                "contentId": content.id,
                "title": content.title,
                "accounts": len(job.account_ids or ()),
                "userId": content.user_id,
            }
            for job, content in session.execute(query)
        ]
    listing(rows, as_json=as_json, empty="no jobs")


def cancel(job_id: Annotated[str, typer.Argument(help="The job's id.")]) -> None:
    """Cancel what of a job has not been sent; says so where it is too late."""
    from minitik_dagster.db.models import Content, ScheduledJob
    from minitik_dagster.errors import NotFoundError
    from minitik_dagster.scheduling import changes

    with transaction() as session:
        job = session.get(ScheduledJob, job_id)
        if job is None:
            raise NotFoundError(f"no scheduled job {job_id[:64]!r}; see: minitik schedule list")
        owner = session.get_one(Content, job.content_id).user_id
        changes.cancel(session, owner, job_id)
    say(f"{job_id}: cancelled")

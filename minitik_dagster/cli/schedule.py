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
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List jobs, the latest instant first."""
    from minitik_dagster.db.types import JobStatus
    from minitik_dagster.scheduling import jobs

    if status is not None and status.upper() not in JobStatus.__members__:
        raise typer.BadParameter(f"status {status!r} is not one of {', '.join(JobStatus)}")
    wanted = JobStatus(status.upper()) if status is not None else None
    with transaction() as session:
        rows = [
            {
                "id": view.job.id,
                "scheduledAt": view.job.scheduled_at,
                "timezone": view.job.timezone,
                "priority": view.job.priority.value,
                "status": view.job.status.value,
                "contentId": view.job.content_id,
                "accountIds": list(view.job.account_ids or ()),
                "stages": [item.stage for item in view.publications],
            }
            for view in jobs.list_jobs(session, None, status=wanted, limit=limit).items
        ]
    listing(rows, as_json=as_json, empty="no jobs")


def cancel(job_id: Annotated[str, typer.Argument(help="The job's id.")]) -> None:
    """Cancel what of a job has not been sent; says so where it is too late."""
    from minitik_dagster.scheduling import changes

    with transaction() as session:
        undone = changes.cancel(session, None, job_id)
    say(f"{job_id}: cancelled")
    for item in undone:
        say(f"{item.publication_id} ({item.platform.value.lower()}): {item.text}")

"""`minitik publications` and `minitik reviews`: one post's story, and what waits for a person."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

import typer

from minitik_dagster.cli.output import AsJson, as_object, listing, printable, say
from minitik_dagster.cli.people import operator_name
from minitik_dagster.cli.session import transaction

_NO_PUBLICATION = "no publication {!r}; GET /api/publishing/CONTENT-ID names a content's"


def register(app: typer.Typer) -> None:
    """Add the sub-commands."""
    group = typer.Typer(no_args_is_help=True, help="Posts and their step histories.")
    group.command("show")(show)
    group.command("reconcile")(reconcile_them)
    group.command("rollback")(rollback)
    app.add_typer(group, name="publications")
    reviews = typer.Typer(no_args_is_help=True, help="Posts no platform can answer for.")
    reviews.command("list")(list_reviews)
    reviews.command("resolve")(resolve)
    app.add_typer(reviews, name="reviews")


def show(publication_id: str, as_json: AsJson = False) -> None:
    """Show a publication's stage, times and every step that was taken for it."""
    from sqlalchemy import select

    from minitik_dagster.db.models import Publication
    from minitik_dagster.db.tables import PublicationStep
    from minitik_dagster.errors import NotFoundError

    with transaction() as session:
        row = session.get(Publication, publication_id)
        if row is None:
            raise NotFoundError(_NO_PUBLICATION.format(publication_id[:64]))
        facts: dict[str, Any] = {
            "id": row.id,
            "platform": row.platform.value.lower(),
            "stage": row.stage,
            "status": row.status.value,
            "dueAt": row.due_at,
            "committedAt": row.committed_at,
            "acceptedAt": row.accepted_at,
            "verifiedAt": row.verified_at,
            "platformPostId": row.platform_post_id,
            "attempts": row.attempts,
            "nextAttemptAt": row.next_attempt_at,
            "holdReason": row.hold_reason,
            "errorCode": row.error_code,
            "reason": row.error,
            "fix": row.error_fix,
        }
        steps = [
            {
                "step": step.name,
                "attempt": step.attempt,
                "startedAt": step.started_at,
                "endedAt": step.ended_at,
                "outcome": step.outcome or "open",
                "code": step.platform_code,
                "requestId": step.request_id,
            }
            for step in session.scalars(
                select(PublicationStep)
                .where(PublicationStep.publication_id == publication_id)
                .order_by(PublicationStep.started_at, PublicationStep.id)
            )
        ]
    if as_json:
        as_object(facts | {"steps": steps})
        return
    for name, value in facts.items():
        if value is not None:
            say(f"{name:15} {printable(value)}")
    listing(steps, as_json=False, empty="no step was taken yet")


def rollback(
    content_id: Annotated[str, typer.Argument(help="The content's id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> int:
    """Take a content's posts back: cancel what was not sent, delete what can be deleted.

    Says what a person must delete by hand. Exit 1 while something is left to be repeated.
    """
    from minitik_dagster.db.engine import make_engine
    from minitik_dagster.publishing.rollback import Outcome, roll_back
    from minitik_dagster.settings import load_settings

    if not yes:
        typer.confirm(f"Take back every post of content {content_id}?", abort=True)
    settings = load_settings()
    with transaction():
        pass  # refuses another schema version
    engine = make_engine(settings.require_database_url(), pool_size=1, max_overflow=1)
    try:
        done = roll_back(engine, settings, None, content_id, actor=operator_name())
    finally:
        engine.dispose()
    rows = [
        {
            "id": post.id,
            "platform": post.platform.value.lower(),
            "outcome": post.outcome.value,
            "instruction": post.instruction,
            "permalink": post.permalink,
        }
        for post in done.publications
    ]
    if as_json:
        as_object({"contentId": content_id, "status": done.status.value, "publications": rows})
    else:
        listing(rows, as_json=False, empty="the content has no posts")
        say(f"{content_id}: {done.status.value}")
    return int(any(post.outcome is Outcome.PENDING for post in done.publications))


def reconcile_them(
    publication_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="These publications.")
    ] = None,
    day: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="All that was due on this UTC day."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the platforms about what is not settled and repair the rows; publishes nothing."""
    from minitik_dagster.db.models import Publication
    from minitik_dagster.errors import NotFoundError
    from minitik_dagster.logs import configure_logging
    from minitik_dagster.publishing.day_reconciler import DayScope, reconcile
    from minitik_dagster.settings import load_settings

    if bool(publication_ids) is (day is not None):
        raise typer.BadParameter("give publications' ids, or --day YYYY-MM-DD")
    if day is not None and not 2000 <= day.year < 3000:
        raise typer.BadParameter(f"--day {day:%Y-%m-%d} is no day of any post; give YYYY-MM-DD")
    with transaction() as session:
        for publication_id in publication_ids or ():
            if session.get(Publication, publication_id) is None:
                raise NotFoundError(_NO_PUBLICATION.format(publication_id[:64]))
    scope = DayScope.day(day.date()) if day else DayScope(ids=tuple(publication_ids or ()))
    settings = load_settings()
    configure_logging(settings)
    report = asyncio.run(reconcile(settings, scope))
    if as_json:
        differences = [vars(item) for item in report.differences]
        as_object({**report.metadata(), "differences": differences})
        return
    listing([vars(item) for item in report.differences], as_json=False, empty="nothing to repair")
    if report.busy or report.unanswered:
        say(f"{report.busy} are in a dispatcher's hands, {report.unanswered} got no answer")


def list_reviews(as_json: AsJson = False) -> None:
    """List what waits for a person's decision."""
    from minitik_dagster.publishing import reviews

    with transaction() as session:
        found = reviews.list_reviews(session.connection())
    listing([vars(item) for item in found], as_json=as_json, empty="nothing waits for review")


def resolve(
    publication_id: str,
    published: Annotated[
        str | None, typer.Option("--published", help="It is public, with this id there.")
    ] = None,
    not_published: Annotated[
        bool, typer.Option("--not-published", help="It is not public: send it again.")
    ] = False,
) -> None:
    """Decide a review after looking at the account on the platform."""
    from minitik_dagster.publishing import reviews

    if (published is None) is not not_published:
        raise typer.BadParameter("give --published POST-ID or --not-published")
    with transaction() as session:
        reviews.resolve(
            session.connection(), publication_id, published_as=published, actor=operator_name()
        )
    say(f"{publication_id}: {'live' if published else 'scheduled again'}")

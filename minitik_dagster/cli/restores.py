"""`minitik restore`: what a restored database may have forgotten, and what waits because of it."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from minitik_dagster.cli.output import AsJson, as_object, listing, say
from minitik_dagster.cli.people import operator_name
from minitik_dagster.cli.session import transaction


def register(app: typer.Typer) -> None:
    """Add the sub-commands."""
    group = typer.Typer(no_args_is_help=True, help="After a restore: what waits, and why.")
    group.command()(status)
    group.command()(declare)
    group.command()(release)
    app.add_typer(group, name="restore")


def status(as_json: AsJson = False) -> None:
    """Tell the epoch, its mirror, the quarantines, and where what they put to review stands now."""
    from minitik_dagster.publishing import epochs, quarantine

    with transaction() as session:
        connection = session.connection()
        own = epochs.read_epoch(connection)
        told = epochs.mirrored_at(connection)
        found = quarantine.list_quarantines(connection)
        posts = {item.id: quarantine.publications(connection, item.id) for item in found}
    if as_json:
        facts = {
            "epoch": None if own is None else asdict(own),
            "mirrored_at": told,
            "quarantines": [
                asdict(item) | {"posts": [dict(post) for post in posts[item.id]]} for item in found
            ],
        }
        as_object(facts)
        return
    say("no epoch yet: no dispatcher has run" if own is None else f"epoch {own.number}")
    if not found:
        say("no quarantine")
    for item in found:
        why = f"declared by {item.declared_by}" if item.declared_by else "the database was behind"
        say(f"quarantine {item.id}: {item.waiting} of {item.publications} posts wait; {why}")
        listing([asdict(item)], as_json=False)
        listing(posts[item.id], as_json=False)


def declare(
    since: Annotated[datetime, typer.Option(help="The backup's instant, UTC.")],
    until: Annotated[datetime, typer.Option(help="When the lost database ended, UTC.")],
) -> None:
    """Say that the database was restored where nothing could notice it: puts that time to review."""
    from datetime import UTC

    from minitik_dagster.publishing import quarantine

    span = quarantine.Span(*(at.replace(tzinfo=at.tzinfo or UTC) for at in (since, until)))
    with transaction() as session:
        connection = session.connection()
        opened = quarantine.declare(connection, span, actor=operator_name())
        count = len(quarantine.publications(connection, opened))
    say(
        f"quarantine {opened}: {count} posts wait; the next dispatcher asks the platforms about them"
    )


def release(
    quarantine_id: Annotated[str, typer.Argument(metavar="QUARANTINE")],
    not_published: Annotated[
        bool,
        typer.Option("--not-published", help="You have looked: none of those that wait is public."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what.")] = False,
) -> None:
    """Send all that still waits in a quarantine, where it is not too late for it."""
    from minitik_dagster.publishing import quarantine, reviews

    with transaction() as session:
        connection = session.connection()
        posts = quarantine.publications(connection, quarantine_id)
        waiting = [post["publication_id"] for post in posts if post["stage"] == "review"]
        if not_published and yes:
            for publication_id in waiting:
                reviews.resolve(
                    connection, publication_id, published_as=None, actor=operator_name()
                )
    if not_published and yes:
        say(f"{len(waiting)} posts are sent again")
        return
    say(f"{len(waiting)} posts wait")
    say("nothing was changed; to send them all: --not-published --yes")

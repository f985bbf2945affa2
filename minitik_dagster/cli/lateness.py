"""`minitik lateness`: how late posts were sent, by day and platform."""

from typing import Annotated

import typer

from minitik_dagster.cli.output import AsJson, listing
from minitik_dagster.cli.session import transaction


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("lateness")(lateness)


def lateness(
    days: Annotated[int, typer.Option(min=1, max=366, help="How many days, today included.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Measure and show lateness by day and platform; exit 1 when a day missed its objective."""
    from minitik_dagster.operations import lateness as domain

    with transaction() as session:
        connection = session.connection()
        # Today and yesterday have moved since they were measured last.
        for back in range(min(days, 2)):
            domain.measure(connection, domain.days_back(connection, back))
        found = domain.read(connection, domain.days_back(connection, days - 1))
    rows = [
        {
            "day": f"{one.day}",
            "platform": one.platform,
            "posts": one.posts,
            "p50Ms": one.p50_ms,
            "p99Ms": one.p99_ms,
            "maxMs": one.max_ms,
            "share": one.share,
            "missed": one.missed,
            "atOnce": one.at_once,
            "kept": one.is_kept,
        }
        for one in found
    ]
    listing(rows, as_json=as_json, empty="nothing was due")
    if not all(one.is_kept for one in found):
        raise typer.Exit(1)

"""`minitik forecast`: what is due and will not make it."""

from datetime import timedelta
from typing import Annotated

import typer

from minitik_dagster.cli.output import AsJson, as_object, listing, say
from minitik_dagster.cli.session import database


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("forecast")(forecast)


def forecast(
    hours: Annotated[float, typer.Option(min=0.1, max=720, help="How far to look ahead.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Look ahead without changing anything; exit 1 when a post is certain to fail or be too late."""
    from minitik_dagster.logs import configure_logging
    from minitik_dagster.operations import forecast as domain
    from minitik_dagster.settings import load_settings

    settings = load_settings()
    configure_logging(settings)
    with database() as engine:
        found = domain.forecast(engine, settings, timedelta(hours=hours))
    rows = [vars(risk) for risk in found.risks]
    if as_json:
        as_object(
            {
                "until": found.until,
                "checked": found.checked,
                "failing": sorted(found.failing),
                "not_asked": found.not_asked,
                "risks": rows,
            }
        )
    else:
        shown = ("due_at", "publication_id", "platform", "code", "certain", "message", "fix")
        listing(
            [{name: row[name] for name in shown} for row in rows],
            as_json=False,
            empty="no risk found",
        )
        say(f"{found.checked} posts looked at, {len(found.failing)} will not make it")
        if found.not_asked:
            say(f"{found.not_asked} of them could not be asked about at their platform")
    if found.failing:
        raise typer.Exit(1)

"""`minitik dispatcher`: the publish engine without Dagster."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("dispatcher")(dispatcher)


def dispatcher(
    seconds: Annotated[
        float | None, typer.Option(help="End by itself after so many seconds; default: stay.")
    ] = None,
) -> None:
    """Run the resident dispatcher: claims the same rows as Dagster's runs, needs no Dagster."""
    from minitik_dagster.logs import configure_logging
    from minitik_dagster.publishing.engine import run_resident
    from minitik_dagster.settings import load_settings

    settings = load_settings()
    configure_logging(settings)
    raise typer.Exit(run_resident(settings, seconds=seconds))

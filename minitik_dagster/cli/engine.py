"""`minitik dispatcher`: the publish engine without Dagster."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("dispatcher")(dispatcher)


def dispatcher(
    seconds: Annotated[
        float | None,
        typer.Option(min=0.1, help="End by itself after so many seconds; default: stay."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Start none: exit 1 unless one of this host beats.")
    ] = False,
) -> None:
    """Run the resident dispatcher: claims the same rows as Dagster's runs, needs no Dagster."""
    if check:
        _check()
        return
    from minitik_dagster.logs import configure_logging
    from minitik_dagster.publishing.engine import run_resident
    from minitik_dagster.settings import load_settings

    settings = load_settings()
    configure_logging(settings)
    raise typer.Exit(run_resident(settings, seconds=seconds))


def _check() -> None:
    import socket

    from minitik_dagster.cli.output import say
    from minitik_dagster.cli.session import database
    from minitik_dagster.publishing.health import resident_beats

    host = socket.gethostname()
    with database() as engine, engine.connect() as connection:
        beats = resident_beats(connection, host)
    say(f"dispatcher on {host}: {'beating' if beats else 'no heartbeat within a minute'}")
    if not beats:
        raise typer.Exit(1)

"""`minitik doctor`: whether everything is there, and right."""

from typing import Annotated

import typer

from minitik_dagster.cli.output import AsJson, as_object, printable, say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    everything: Annotated[bool, typer.Option("--all", help="Tell the green ones as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check every variable, server, right and credential; say the fix; exit 1 on red."""
    from minitik_dagster.logs import configure_logging, redact_text
    from minitik_dagster.operations.doctor import examine
    from minitik_dagster.operations.findings import Level, as_lines, worst
    from minitik_dagster.resources.dagster_health import look
    from minitik_dagster.settings import examine_environment

    settings, problems = examine_environment()
    configure_logging(settings)
    found = examine(settings, problems, {"dagster": look})
    level = worst(found)
    if as_json:
        checks = [
            {name: redact_text(str(value)) for name, value in vars(item).items()} for item in found
        ]
        as_object({"level": level.value, "checks": checks})
    else:
        for line in as_lines(found, everything=everything):
            say(printable(redact_text(line)))
    if level is Level.RED:
        raise typer.Exit(1)

"""`minitik incident`: the facts of an incident in one file to hand on."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from minitik_dagster.cli.output import AsJson, printable, say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("incident")(incident)


def incident(
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Take a snapshot as Markdown and JSON, without secrets, and propose its severity."""
    from minitik_dagster.logs import configure_logging
    from minitik_dagster.operations.doctor import examine
    from minitik_dagster.operations.incident import snapshot
    from minitik_dagster.operations.incident_page import page
    from minitik_dagster.resources.dagster_health import look, stuck_runs
    from minitik_dagster.settings import examine_environment

    settings, problems = examine_environment()
    configure_logging(settings)
    findings = examine(settings, problems, {"dagster": look})
    further = {"stuckRuns": lambda: stuck_runs(settings)} if settings is not None else {}
    facts = snapshot(settings, findings, further)
    text = json.dumps(facts, indent=2) + "\n"
    if as_json:
        say(text.rstrip())
        return
    out.mkdir(parents=True, exist_ok=True)
    stem = "incident-" + facts["takenAt"][:19].replace(":", "").replace("-", "")
    for name, body in ((f"{stem}.md", page(facts)), (f"{stem}.json", text)):
        _write(out / name, body)
        say(str(out / name))
    severity = facts["severity"]
    say(f"{severity['level']}: {severity['meaning']}; respond: {severity['response']}")
    for reason in severity["reasons"]:
        say(printable(f"  {reason}"))


def _write(path: Path, body: str) -> None:
    """Write for this user alone: it names accounts and posts."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(body)

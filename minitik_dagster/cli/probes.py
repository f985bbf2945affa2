"""`minitik accounts probe`: asking the platforms who we are to the accounts."""

import asyncio
from typing import Annotated

import typer

from minitik_dagster.cli.output import AsJson, as_object, say


def register(app: typer.Typer) -> None:
    """Add the command to the group of accounts."""
    accounts = next(
        found.typer_instance for found in app.registered_groups if found.name == "accounts"
    )
    assert accounts is not None
    accounts.command("probe")(probe)


def probe(
    account_id: Annotated[str | None, typer.Argument(help="The account's id.")] = None,
    due: Annotated[bool, typer.Option("--due", help="Every account that is due.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the platform about one account now, or with `--due` about those unasked for 20 hours.

    Exit 1 when access was withdrawn or something else is wrong, or when no answer came.
    """
    from minitik_dagster.accounts.probe_due import probe_due, probe_one
    from minitik_dagster.accounts.probes import OK
    from minitik_dagster.logs import configure_logging
    from minitik_dagster.settings import load_settings

    if due == (account_id is not None):
        raise typer.BadParameter("give one account's id, or --due")
    settings = load_settings()
    configure_logging(settings)
    if account_id is not None:
        found = asyncio.run(probe_one(settings, account_id))
        if as_json:
            as_object(
                {
                    "id": account_id,
                    "platform": found.platform.value.lower(),
                    "outcome": found.outcome,
                    "code": found.code,
                }
            )
        else:
            say(f"{account_id} ({found.platform.value.lower()}): {found.text}")
        if found.outcome != OK:
            raise typer.Exit(1)
        return
    report = asyncio.run(probe_due(settings))
    if as_json:
        as_object({**report.counts(), "outcomes": dict(report.outcomes)})
    else:
        say(", ".join(f"{count} {name}" for name, count in report.counts().items()))
    if report.problems or report.failed or report.left:
        raise typer.Exit(1)

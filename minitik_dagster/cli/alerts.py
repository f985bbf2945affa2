"""`minitik alerts`: thresholds that were crossed."""

from typing import Annotated

import typer

from minitik_dagster.cli.output import AsJson, listing
from minitik_dagster.cli.session import transaction


def register(app: typer.Typer) -> None:
    """Add the sub-command."""
    group = typer.Typer(no_args_is_help=True, help="Thresholds that were crossed.")
    group.callback()(_group)
    group.command("list")(list_alerts)
    app.add_typer(group, name="alerts")


def _group() -> None:
    """Keep the group a group although it has one command."""


def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """List open alerts; exit 1 when one is critical."""
    from minitik_dagster.publishing import alarm

    with transaction() as session:
        found = alarm.list_alerts(session.connection(), everything=everything)
    listing([vars(item) for item in found], as_json=as_json, empty="no alert is open")
    if any(item.level == "critical" and item.resolved_at is None for item in found):
        raise typer.Exit(1)

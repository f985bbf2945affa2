"""`minitik alerts`: thresholds that were crossed, and the thresholds themselves."""

from typing import Annotated

import typer

from minitik_dagster.cli.output import AsJson, listing, say
from minitik_dagster.cli.people import operator_name
from minitik_dagster.cli.session import transaction


def register(app: typer.Typer) -> None:
    """Add the sub-command."""
    group = typer.Typer(no_args_is_help=True, help="Thresholds that were crossed.")
    group.command("list")(list_alerts)
    group.command("thresholds")(list_thresholds)
    group.command("set")(set_threshold)
    group.command("reset")(reset_threshold)
    app.add_typer(group, name="alerts")


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


def list_thresholds(as_json: AsJson = False) -> None:
    """List the thresholds in force, and what to do when one is crossed."""
    from minitik_dagster.operations.thresholds import thresholds

    with transaction() as session:
        found = thresholds(session.connection())
    listing([vars(item) for item in found.values()], as_json=as_json)


def set_threshold(
    key: Annotated[str, typer.Argument(help="The threshold's key.")],
    warning: Annotated[float, typer.Option(help="Above this it is a warning.")],
    critical: Annotated[float, typer.Option(help="Above this it is critical.")],
) -> None:
    """Set a threshold's numbers; the next look, within 30 s, goes by them."""
    from minitik_dagster.operations import thresholds

    with transaction() as session:
        item = thresholds.set_threshold(
            session.connection(), key, warning=warning, critical=critical, actor=operator_name()
        )
    say(f"{item.key}: warning above {item.warning:g}, critical above {item.critical:g}")


def reset_threshold(
    key: Annotated[str, typer.Argument(help="The threshold's key.")],
) -> None:
    """Go back to the runbook's numbers."""
    from minitik_dagster.operations import thresholds

    with transaction() as session:
        item = thresholds.reset_threshold(session.connection(), key, actor=operator_name())
    say(f"{item.key}: warning above {item.warning:g}, critical above {item.critical:g}")

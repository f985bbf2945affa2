"""`minitik audit`: who did what."""

import json
from typing import Annotated

import typer

from minitik_dagster.cli.output import AsJson, listing
from minitik_dagster.cli.session import transaction


def register(app: typer.Typer) -> None:
    """Add the sub-command."""
    group = typer.Typer(no_args_is_help=True, help="Who did what.")
    group.callback()(_group)
    group.command("list")(list_audit)
    app.add_typer(group, name="audit")


def _group() -> None:
    """Keep the group a group although it has one command."""


def list_audit(
    action: Annotated[
        str | None, typer.Option(help="One act (queue.drain), or a kind of acts (queue).")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Only what was done to this id, batch or scope.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List acts of operators and of the system, the newest first."""
    from minitik_dagster.operations.audit import list_entries

    with transaction() as session:
        found = list_entries(session.connection(), action=action, subject=subject, limit=limit)
    rows = [vars(entry) for entry in found]
    if not as_json:
        rows = [row | {"detail": json.dumps(row["detail"])} for row in rows]
    listing(rows, as_json=as_json, empty="no entry")

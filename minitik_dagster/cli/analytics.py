"""`minitik analytics`: the collections in MongoDB."""

from typing import TYPE_CHECKING

import typer

from minitik_dagster.cli.output import say

if TYPE_CHECKING:
    from minitik_dagster.analytics.store import AnalyticsStore


def register(app: typer.Typer) -> None:
    """Add the sub-commands."""
    group = typer.Typer(no_args_is_help=True, help="The numbers' collections in MongoDB.")
    group.command()(ensure)
    group.command()(check)
    app.add_typer(group, name="analytics")


def _store() -> "AnalyticsStore":
    from minitik_dagster.analytics.store import AnalyticsStore
    from minitik_dagster.settings import load_settings

    return AnalyticsStore.from_settings(load_settings())


def ensure() -> None:
    """Make the collections and indexes that are absent; changes nothing that is there."""
    store = _store()
    try:
        store.ensure()
    finally:
        store.close()
    say("the analytics collections are there")


def check() -> None:
    """Compare the readings' collection with what it must be; exit 1 with a line per difference."""
    store = _store()
    try:
        found = store.problems()
    finally:
        store.close()
    for line in found:
        say(line)
    if found:
        raise typer.Exit(1)
    say("the analytics collection is as it must be")

"""`minitik tokens` and `minitik accounts refresh`: new keys for stored secrets, new tokens in time."""

import asyncio
from typing import Annotated

import typer

from minitik_dagster.cli.output import AsJson, as_object, listing, say


def register(app: typer.Typer) -> None:
    """Add the sub-commands; `accounts refresh` joins the group of accounts."""
    group = typer.Typer(no_args_is_help=True, help="Stored secrets.")
    group.callback()(tokens)
    group.command("rotate-key")(rotate_key)
    app.add_typer(group, name="tokens")
    accounts = next(
        found.typer_instance for found in app.registered_groups if found.name == "accounts"
    )
    assert accounts is not None
    accounts.command("refresh")(refresh)


def tokens() -> None:
    """Stored secrets."""


def rotate_key(as_json: AsJson = False) -> None:
    """Re-seal every stored secret under ENCRYPTION_KEY; safe under load, resumable, repeatable.

    ENCRYPTION_KEY_PREVIOUS must hold the key they were sealed with. Exit 1 when a value opens with no
    key; it is left as it is and named.
    """
    from minitik_dagster.accounts.resealing import reseal
    from minitik_dagster.accounts.vault import Vault
    from minitik_dagster.db.engine import make_engine
    from minitik_dagster.db.migrate import require_schema
    from minitik_dagster.logs import configure_logging
    from minitik_dagster.settings import load_settings

    settings = load_settings()
    configure_logging(settings)
    vault = Vault.from_settings(settings)
    engine = make_engine(settings.require_database_url(), pool_size=1, max_overflow=1)
    try:
        with engine.connect() as connection:
            require_schema(connection)
        done = list(reseal(engine, vault))
    finally:
        engine.dispose()
    listing([vars(report) for report in done], as_json=as_json)
    if any(report.failed for report in done):
        raise typer.Exit(1)


def refresh(
    account_id: Annotated[str | None, typer.Argument(help="The account's id.")] = None,
    due: Annotated[bool, typer.Option("--due", help="Every account that is due.")] = False,
    as_json: AsJson = False,
) -> None:
    """Renew one account's tokens now, or with `--due` those of every account that needs it."""
    from minitik_dagster.accounts.refresh_due import refresh_due, refresh_one
    from minitik_dagster.logs import configure_logging
    from minitik_dagster.settings import load_settings

    if due == (account_id is not None):
        raise typer.BadParameter("give one account's id, or --due")
    settings = load_settings()
    configure_logging(settings)
    if account_id is not None:
        refreshed = asyncio.run(refresh_one(settings, account_id))
        if as_json:
            as_object({"id": account_id, "refreshed": refreshed})
        else:
            say(f"{account_id}: {'refreshed' if refreshed else 'was refreshed just now'}")
        return
    report = asyncio.run(refresh_due(settings))
    if as_json:
        as_object({**report.counts(), "outcomes": dict(report.outcomes)})
    else:
        say(", ".join(f"{count} {name}" for name, count in report.counts().items()))
    if report.failed or report.left:
        raise typer.Exit(1)

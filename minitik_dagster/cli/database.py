"""`minitik db`: schema migrations."""

from pathlib import Path
from typing import Annotated

import typer

from minitik_dagster.cli.output import say


def register(app: typer.Typer) -> None:
    """Add the sub-commands."""
    group = typer.Typer(no_args_is_help=True, help="The database's schema.")
    group.command()(upgrade)
    group.command()(downgrade)
    group.command()(current)
    app.add_typer(group, name="db")


def _url() -> str:
    from minitik_dagster.settings import load_settings

    settings = load_settings()
    direct = settings.direct_url
    return direct.get_secret_value() if direct else settings.require_database_url()


def upgrade(
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL and change nothing.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be applied and change nothing.")
    ] = False,
    backup: Annotated[
        bool, typer.Option("--backup", help="Dump the database with pg_dump first, and check it.")
    ] = False,
    backup_dir: Annotated[
        Path | None,
        typer.Option("--backup-dir", help="Where to (MINITIK_HOME/backups); implies --backup."),
    ] = None,
) -> None:
    """Bring the database to this program's schema, adopting an old system's tables as they are."""
    from minitik_dagster.db import migrate
    from minitik_dagster.settings import load_settings

    url = _url()
    if sql:
        say(migrate.upgrade_sql(url))
        return
    waiting = migrate.pending(url)
    if (backup or backup_dir is not None) and not dry_run:
        _back_up(url, backup_dir, needed=bool(waiting))
    for line in waiting:
        say(f"{'would apply' if dry_run else 'applying'} {line}")
    if dry_run:
        if not waiting:
            say(f"nothing is to be applied: the database is at {migrate.current(url)}")
        return
    migrate.upgrade(url, world=load_settings().platform_world)
    say(f"the database is at {migrate.current(url)}")


def _back_up(url: str, folder: Path | None, *, needed: bool) -> None:
    from minitik_dagster.db import migrate
    from minitik_dagster.db.backup import back_up
    from minitik_dagster.settings import load_settings

    if not needed:
        say("nothing is to be applied: no back-up was made")
        return
    target = folder or Path(load_settings().minitik_home) / "backups"
    version = (migrate.current(url) or "old-schema").partition("_")[0]
    say(f"backed up to {back_up(url, target, version=version)}")


def downgrade() -> None:
    """Undo the newest migration; the old system's own tables are never dropped."""
    from minitik_dagster.db import migrate

    say(f"the database is at {migrate.downgrade(_url()) or 'the old schema'}")


def current() -> None:
    """Print the database's schema version and this program's."""
    from minitik_dagster.db import migrate

    found, head = migrate.current(_url()), migrate.head_revision()
    say(f"database {found or 'none'}, program {head}")
    if found != head:
        raise typer.Exit(1)

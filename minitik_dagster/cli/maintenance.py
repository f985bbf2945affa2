"""`minitik maintain`: clearing away what has ended, without Dagster."""

import typer

from minitik_dagster.cli.output import AsJson, as_object, listing, say
from minitik_dagster.cli.session import database


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("maintain")(maintain)


def maintain(as_json: AsJson = False) -> None:
    """Delete expired rows, media of deleted contents, old exports; Dagster's job clears its storage too."""
    from minitik_dagster.db.instance import require_ours
    from minitik_dagster.media.object_store import ObjectStore
    from minitik_dagster.operations.upkeep import Cleared, clear_media, clear_rows
    from minitik_dagster.settings import load_settings

    settings, cleared = load_settings(), Cleared()
    with database() as engine:
        with engine.connect() as connection:
            require_ours(connection, settings)
        clear_rows(engine, cleared)
        if settings.aws_s3_bucket:
            clear_media(engine, ObjectStore.from_settings(settings), cleared)
    if as_json:
        as_object({**vars(cleared), "rows": dict(cleared.rows)})
        return
    rows = [
        *cleared.rows.items(),
        ("media of deleted contents", cleared.media),
        ("files of expired exports", cleared.exports),
    ]
    listing([{"what": name, "removed": count} for name, count in rows], as_json=False)
    for note in cleared.notes:
        say(note)

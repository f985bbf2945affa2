"""`minitik up` and `minitik demo`: the local stack (extra `local`)."""

import typer


def register(app: typer.Typer) -> None:
    """Add the commands; where the extra is missing they say how to get it."""
    try:
        from minitik_dagster.local import commands
    except ImportError:
        app.command("up")(_missing)
        app.command("demo")(_missing)
    else:
        app.command("up")(commands.up)
        app.command("demo")(commands.demo)


def _missing() -> None:
    """Needs the extra `local`."""
    raise typer.BadParameter("needs the extra `local`: pip install 'minitik-dagster[local]'")

"""`minitik up` and `minitik demo`: the local stack (extra `local`)."""

import typer


def register(app: typer.Typer) -> None:
    """Add the commands; where the extra is missing they say how to get it."""
    try:
        from minitik_dagster.local.commands import demo, up
    except ImportError:
        demo = up = _missing
    app.command("up", help="Start all that is not configured, and stay up until Ctrl-C.")(up)
    app.command(
        "demo",
        help="Send a real video through upload, schedule and publish on all three platforms.",
    )(demo)


def _missing() -> None:
    raise typer.BadParameter("needs the extra `local`: pip install 'minitik-dagster[local]'")

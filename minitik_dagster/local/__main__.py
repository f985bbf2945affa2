"""`python -m minitik_dagster.local up|demo`: the local commands without the rest of the CLI."""

import typer

from minitik_dagster.local.commands import demo, up

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(up)
app.command()(demo)

if __name__ == "__main__":
    app()

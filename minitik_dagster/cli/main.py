"""`minitik`: the root command. Wiring only; every command's work lives in the package it belongs to."""

import sys

import typer
from typer._click.exceptions import ClickException  # typer carries its own click since 0.26

from minitik_dagster.cli import (
    adoption,
    breaker,
    database,
    engine,
    local,
    people,
    publications,
    schedule,
)
from minitik_dagster.cli.environment import join_running_stack
from minitik_dagster.errors import MinitikError

app = typer.Typer(
    name="minitik",
    help="Publishes short videos to TikTok, Instagram and YouTube at their instant, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
local.register(app)
engine.register(app)
database.register(app)
adoption.register(app)
people.register(app)
schedule.register(app)
publications.register(app)
breaker.register(app)


def main() -> None:
    """Run a command: exit 0 good, 1 found something wrong, 2 usage; an error is one line."""
    if sys.argv[1:2] not in (["up"], ["demo"]):  # these two start or find a stack themselves
        join_running_stack()
    try:
        code = app(standalone_mode=False)
    except MinitikError as error:
        _end(str(error), 1)
    except ClickException as error:
        _end(error.format_message(), error.exit_code)
    except typer.Abort:
        _end("stopped", 1)
    except Exception as error:  # what no command foresaw: still one line, never a trace with values
        from sqlalchemy.exc import DBAPIError

        if isinstance(error, DBAPIError):
            _end(f"PostgreSQL does not answer as expected ({type(error.orig).__name__})", 1)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _end(message: str, code: int) -> None:
    print(f"minitik: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201 - the CLI's own voice
    sys.exit(code)


if __name__ == "__main__":
    main()

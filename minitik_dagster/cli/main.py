"""`minitik`: the root command. Wiring only; every command's work lives in the package it belongs to."""

import os
import sys

import typer
from typer._click.exceptions import (  # typer carries its own click since 0.26
    ClickException,
    NoArgsIsHelpError,
)

from minitik_dagster.cli.environment import join_running_stack
from minitik_dagster.cli.groups import GROUPS
from minitik_dagster.errors import MinitikError
from minitik_dagster.redaction import redact_opaque

app = typer.Typer(
    name="minitik",
    help="Publishes short videos to TikTok, Instagram and YouTube at their instant, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group in GROUPS:
    group.register(app)


def main() -> None:
    """Run a command: exit 0 good, 1 found something wrong, 2 usage; an error is one line."""
    try:
        if sys.argv[1:2] not in (["up"], ["demo"]):  # these two start or find a stack themselves
            join_running_stack()
        code = app(standalone_mode=False)
    except MinitikError as error:
        _end(str(error), 1)
    except NoArgsIsHelpError as error:
        typer.echo(error.format_message())
        sys.exit(2)
    except ClickException as error:
        _end(error.format_message(), error.exit_code)
    except typer.Abort:
        _end("stopped", 1)
    except OSError as error:
        # A reader that went away (`minitik keys list | head`) is no fault, and hears nothing more.
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        _end(f"{error.strerror}: {error.filename}" if error.filename else str(error), 1)
    except Exception as error:  # what no command foresaw: still one line where we know what it is
        from sqlalchemy.exc import DBAPIError

        if isinstance(error, DBAPIError):
            # The server's first line names host and reason; values stand in the lines below it.
            _end(f"PostgreSQL: {str(error.orig).partition(chr(10))[0]}", 1)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _end(message: str, code: int) -> None:
    print(f"minitik: {redact_opaque(' '.join(message.split()))}", file=sys.stderr)  # noqa: T201 - the CLI's own voice
    sys.exit(code)


if __name__ == "__main__":
    main()

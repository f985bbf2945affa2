"""`minitik`: the root command. Wiring only; every command's work lives in the package it belongs to."""

import os
import sys
from typing import Annotated

import typer
from typer._click.exceptions import NoArgsIsHelpError  # typer carries its own click since 0.26

from minitik_dagster.cli.environment import join_running_stack
from minitik_dagster.cli.failures import told
from minitik_dagster.cli.groups import GROUPS

app = typer.Typer(
    name="minitik",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group in GROUPS:
    group.register(app)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from minitik_dagster import __version__

        typer.echo(f"minitik {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print this program's version.", callback=_tell_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Publishes short videos to TikTok, Instagram and YouTube at their instant, exactly once."""


def main() -> None:
    """Run a command: exit 0 good, 1 found something wrong, 2 usage; an error is one line."""
    try:
        if sys.argv[1:2] not in (["up"], ["demo"]):  # these two start or find a stack themselves
            join_running_stack()
        code = app(standalone_mode=False)
    except NoArgsIsHelpError as error:
        typer.echo(error.format_message())
        sys.exit(2)
    except BrokenPipeError:
        # A reader that went away (`minitik keys list | head`) is no fault, and hears nothing more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        message, ending = told(error)
        print(f"minitik: {message}", file=sys.stderr)  # noqa: T201 - the CLI's own voice
        sys.exit(ending)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()

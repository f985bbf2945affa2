"""`minitik`: the root command. Wiring only; every command's work lives in the package it belongs to."""

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Final

import typer
from typer._click.exceptions import (  # typer carries its own click since 0.26
    BadParameter,
    ClickException,
    NoArgsIsHelpError,
)

from minitik_dagster.cli.environment import join_running_stack
from minitik_dagster.cli.groups import GROUPS
from minitik_dagster.errors import DependencyDownError, InvalidInputError, MinitikError
from minitik_dagster.redaction import redact_opaque

# What names the server that a command found away.
_VARIABLES: Final = {
    "postgresql": "DATABASE_URL",
    "redis": "REDIS_URL",
    "mongodb": "MONGODB_URI",
    "s3": "AWS_S3_BUCKET and AWS_ENDPOINT_URL_S3",
}

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
    except InvalidInputError as error:
        _end(str(error), 2)
    except DependencyDownError as error:
        variable = _VARIABLES.get(error.dependency)
        _end(f"{error}" + (f" - start it, or correct {variable}" if variable else ""), 1)
    except MinitikError as error:
        _end(str(error), 1)
    except NoArgsIsHelpError as error:
        typer.echo(error.format_message())
        sys.exit(2)
    except ClickException as error:
        _end(_in_our_words(error), error.exit_code)
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
            reason = str(error.orig).partition(chr(10))[0]
            away = reason.startswith(("connection ", "failed to resolve"))
            fix = " - start it, or correct DATABASE_URL" if away else ""
            if reason.startswith("permission denied"):
                fix = " - minitik doctor names the rights that lack"
            _end(f"PostgreSQL: {reason}{fix}", 1)
        _end(f"unexpected {type(error).__name__} in {_place(error)}: {error}", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _in_our_words(error: ClickException) -> str:
    """The parser's message with the value that was given, and without pydantic's phrases."""
    message = error.format_message().replace("Input should ", "must ").replace("Value error, ", "")
    if not isinstance(error, BadParameter) or error.param is None:
        return message
    for number, word in enumerate(sys.argv[1:], start=1):
        name, sign, value = word.partition("=")
        if name in error.param.opts:
            given = value if sign else "".join(sys.argv[number + 1 : number + 2])
            before, colon, after = message.partition(": ")
            # A value that the message repeats by itself is told once.
            return message if repr(given) in after else f"{before}{colon}{given[:64]!r} {after}"
    return message


def _place(error: Exception) -> str:
    """Where in this package an error that nobody foresaw came from: what a report of it needs."""
    own = Path(__file__).parent.parent
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(own)
    ]
    frame = frames[-1]  # `main` itself is always among them
    return f"{Path(frame.filename).relative_to(own)}:{frame.lineno}"


def _end(message: str, code: int) -> None:
    print(f"minitik: {redact_opaque(' '.join(message.split()))}", file=sys.stderr)  # noqa: T201 - the CLI's own voice
    sys.exit(code)


if __name__ == "__main__":
    main()

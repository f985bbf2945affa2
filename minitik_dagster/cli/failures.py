"""How a command that failed is told: one line with the fix, and the code it ends with."""

import sys
import traceback
from pathlib import Path
from typing import Final

import typer
from typer._click.exceptions import (  # typer carries its own click since 0.26
    BadParameter,
    ClickException,
)

from minitik_dagster.errors import DependencyDownError, InvalidInputError, MinitikError
from minitik_dagster.redaction import redact_opaque

# What names the server that a command found away.
_VARIABLES: Final = {
    "postgresql": "DATABASE_URL",
    "redis": "REDIS_URL",
    "mongodb": "MONGODB_URI",
    "s3": "AWS_S3_BUCKET and AWS_ENDPOINT_URL_S3",
}


def told(error: Exception) -> tuple[str, int]:
    """Return an error as one line without secrets, and the exit code: 2 for how it was called, else 1."""
    message, code = _told(error)
    return redact_opaque(" ".join(message.split())), code


def _told(error: Exception) -> tuple[str, int]:
    if isinstance(error, InvalidInputError):
        return str(error), 2
    if isinstance(error, DependencyDownError):
        variable = _VARIABLES.get(error.dependency)
        return f"{error}" + (f" - start it, or correct {variable}" if variable else ""), 1
    if isinstance(error, MinitikError):
        return str(error), 1
    if isinstance(error, ClickException):
        return _in_our_words(error), error.exit_code
    if isinstance(error, typer.Abort):
        return "stopped", 1
    if isinstance(error, OSError):
        return (f"{error.strerror}: {error.filename}" if error.filename else str(error)), 1
    return _unforeseen(error), 1


def _unforeseen(error: Exception) -> str:
    """What no command foresaw: still one line, where we know what it is or where it came from."""
    from sqlalchemy.exc import DBAPIError

    if not isinstance(error, DBAPIError):
        return f"unexpected {type(error).__name__} in {_place(error)}: {error}"
    # The server's first line names host and reason; values stand in the lines below it.
    reason = str(error.orig).partition("\n")[0]
    fix = ""
    if reason.startswith(("connection ", "failed to resolve")):
        fix = " - start it, or correct DATABASE_URL"
    elif reason.startswith("permission denied"):
        fix = " - minitik doctor names the rights that lack"
    return f"PostgreSQL: {reason}{fix}"


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

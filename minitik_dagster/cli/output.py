"""How commands speak: plain lines and tables for people, JSON for programs.

What others wrote (names, titles, a platform's words) is shown without control characters: they could
steer the terminal.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from minitik_dagster.clock import iso_z

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def say(text: str) -> None:
    """Print one line (or text) to standard output."""
    typer.echo(text)


def as_object(facts: Mapping[str, Any]) -> None:
    """Print one thing as JSON."""
    say(json.dumps(_plain(facts), indent=2))


def listing(rows: Sequence[Mapping[str, Any]], *, as_json: bool, empty: str = "none") -> None:
    """Print rows as JSON, or as columns wide enough for their values."""
    if as_json:
        say(json.dumps(_plain(rows), indent=2))
        return
    if not rows:
        say(empty)
        return
    rows = [{_camel(name): value for name, value in row.items()} for row in rows]
    names = list(rows[0])
    cells = [
        [printable(row[name]) if row[name] is not None else "-" for name in names] for row in rows
    ]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
    for line in [names, *cells]:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def printable(value: object) -> str:
    """Return a value as one line of visible text."""
    plain = _plain(value)
    text = ", ".join(map(str, plain)) if isinstance(plain, list) else str(plain)
    return "".join(mark if mark.isprintable() else " " for mark in text)


def _camel(name: str) -> str:
    """Names as the HTTP contract writes them."""
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso_z(value)
    if isinstance(value, Mapping):
        return {_camel(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | frozenset):
        return [_plain(item) for item in value]
    return value

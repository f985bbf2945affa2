"""How commands speak: plain lines and tables for people, JSON for programs."""

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


def listing(rows: Sequence[Mapping[str, Any]], *, as_json: bool, empty: str = "none") -> None:
    """Print rows as JSON, or as columns wide enough for their values."""
    if as_json:
        say(json.dumps([{k: _plain(v) for k, v in row.items()} for row in rows], indent=2))
        return
    if not rows:
        say(empty)
        return
    names = list(rows[0])
    cells = [
        [str(_plain(row[name]) if row[name] is not None else "-") for name in names] for row in rows
    ]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
    for line in [names, *cells]:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso_z(value)
    if isinstance(value, list | tuple | frozenset):
        return [_plain(item) for item in value]
    return value

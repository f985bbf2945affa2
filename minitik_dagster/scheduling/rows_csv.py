"""A CSV file of posts (RFC 4180, UTF-8), row by row as the JSON of one post would stand there."""

import csv
from dataclasses import dataclass
from typing import Any, Final

from minitik_dagster.errors import FieldProblem, InvalidInputError

HEADER: Final = ("contentId", "accountIds", "scheduledAt", "timezone", "priority")
# Columns that may be added; as in JSON, an empty cell leaves the field out.
OPTIONAL: Final = ("disambiguation", "maxLateness", "allowDuplicate", "caption", "tiktokPrivacy")
_REQUIRED: Final = HEADER[:3]
_SHOWN: Final = ",".join(HEADER)
_FLAGS: Final = {"true": True, "false": False}


@dataclass(frozen=True)
class CsvRow:
    """A row: the line of the file it begins on, and its fields, or what is wrong with its form."""

    line: int
    fields: dict[str, Any]
    error: InvalidInputError | None = None


def read_rows(data: bytes, *, limit: int) -> list[CsvRow]:
    """Read at most `limit` rows; blank lines count as none.

    Raises InvalidInputError for what is no UTF-8, no CSV, has another header, no row or too many rows.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(f"is not UTF-8 at byte {error.start}", "save the file as UTF-8") from None
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    rows: list[CsvRow] = []
    columns: list[str] | None = None
    before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = _columns(cells)
                continue
            rows.append(_row(line, columns, cells))
            if len(rows) > limit:
                raise _refused(f"has more than {limit} rows", f"send at most {limit} rows at once")
    except csv.Error as error:
        raise _refused(
            f"is not CSV in line {reader.line_num}: {error}", "see RFC 4180, quotes are doubled"
        ) from None
    if columns is None:
        raise _refused("is empty", f"begin with the header {_SHOWN}")
    if not rows:
        raise _refused("has no row after its header", "add a row for each post")
    return rows


def _refused(message: str, fix: str) -> InvalidInputError:
    return InvalidInputError(FieldProblem("body", message, fix))


def _columns(cells: list[str]) -> list[str]:
    columns = [cell.strip() for cell in cells]
    known = (*HEADER, *OPTIONAL)
    problems = [
        FieldProblem(
            name[:64] or "header", "is not a known column", f"known are {', '.join(known)}"
        )
        for name in columns
        if name not in known
    ]
    problems += [
        FieldProblem(name, "is missing in the header", f"begin with {_SHOWN}")
        for name in _REQUIRED
        if name not in columns
    ]
    problems += [
        FieldProblem(name, "stands in the header twice", "name each column once")
        for name in known
        if columns.count(name) > 1
    ]
    if problems:
        raise InvalidInputError(*problems)
    return columns


def _row(line: int, columns: list[str], cells: list[str]) -> CsvRow:
    if len(cells) != len(columns):
        problem = FieldProblem(
            "row", f"has {len(cells)} cells, the header {len(columns)}", "give each column a cell"
        )
        return CsvRow(line, {}, InvalidInputError(problem))
    fields: dict[str, Any] = {}
    options: dict[str, Any] = {}
    caption = ""
    for name, cell in zip(columns, cells, strict=True):
        value = cell.strip()
        if not value:
            continue
        if name == "accountIds":
            fields[name] = [one.strip() for one in value.split(";") if one.strip()]
        elif name == "maxLateness" and value.isascii() and value.isdigit():
            fields[name] = int(value)
        elif name == "allowDuplicate":
            fields[name] = _FLAGS.get(value.lower(), value)
        elif name == "caption":
            caption = cell
        elif name == "tiktokPrivacy":
            options["tiktok"] = {"privacy": value}
        else:
            fields[name] = value
    if caption:
        options["accounts"] = {one: {"caption": caption} for one in fields.get("accountIds", ())}
    if options:
        fields["options"] = options
    return CsvRow(line, fields)

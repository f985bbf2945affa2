"""A person's numbers as a file: a row per post and UTC day, the values are that day's increases.

Empty = not known: a day without a reading has its row all the same. Rows are written as they are read,
so that a file of any size takes little memory.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import IO, Any, Final

from sqlalchemy import Connection

from minitik_dagster.analytics.cadence import LADDER
from minitik_dagster.analytics.days import DayRange, day_of
from minitik_dagster.analytics.live_posts import accounts_of, live_posts
from minitik_dagster.analytics.metrics import NAMES, engagement_rate
from minitik_dagster.analytics.names import DAILY
from minitik_dagster.analytics.readings import Series
from minitik_dagster.analytics.store import AnalyticsStore, Document

COLUMNS: Final = ("date", "contentId", "platform", "accountId", *NAMES, "engagementRate")
CONTENT_TYPES: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
_READ_FOR: Final = timedelta(hours=LADDER[-1])
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

Row = dict[str, Any]


def export_rows(
    store: AnalyticsStore, connection: Connection, user_id: str, span: DayRange
) -> Iterator[Row]:
    """Yield the rows of a range of UTC days, day by day."""
    series = [post.series for post in live_posts(connection, user_id=user_id)]
    accounts = accounts_of(connection, user_id)
    for day in span.days:
        documents = store.documents(DAILY, [f"{day:%Y-%m-%d}"], accounts)
        yield from day_rows(day, series, documents)


def day_rows(day: date, series: Sequence[Series], documents: Sequence[Document]) -> Iterator[Row]:
    """Yield a row for each post that was live on the day and is still read; pure."""
    entries = {entry["publicationId"]: entry for row in documents for entry in row["posts"]}
    for one in sorted(series, key=lambda item: (item.content_id, item.publication_id)):
        entry = entries.get(one.publication_id)
        read_until = day_of(one.live_at + _READ_FOR)
        if entry is None and not day_of(one.live_at) <= day <= read_until:
            continue
        increases = {name: entry[name]["increase"] if entry else None for name in NAMES}
        yield {
            "date": day.isoformat(),
            "contentId": one.content_id,
            "platform": one.platform.value,
            "accountId": one.account_id,
            **increases,
            "engagementRate": engagement_rate(one.platform, increases),
        }


def write_csv(rows: Iterable[Row], file: IO[bytes]) -> int:
    """Write RFC 4180 in UTF-8; returns the number of rows below the header."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    count = 0
    for row in rows:
        writer.writerow([_cell(row[name]) for name in COLUMNS])
        count += 1
    text.detach()
    return count


def write_json(rows: Iterable[Row], file: IO[bytes]) -> int:
    """Write an array of objects, null = not known; returns the number of objects."""
    count = 0
    file.write(b"[")
    for row in rows:
        file.write(b",\n" if count else b"\n")
        file.write(json.dumps(row, ensure_ascii=False).encode())
        count += 1
    file.write(b"\n]\n")
    return count


WRITERS: Final = {"csv": write_csv, "json": write_json}


def _cell(value: Any) -> Any:
    """Defuse text that a spreadsheet would take for a formula; a negative number is none."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return "" if value is None else value


def stamp(instant: datetime) -> str:
    """Write an instant as a part of a key."""
    return f"{instant:%Y%m%dT%H%M%S}{instant.microsecond // 1000:03d}Z"

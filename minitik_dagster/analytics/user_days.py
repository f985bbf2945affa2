"""A person's days: what the dashboard is made of, from the documents of the day's accounts.

A day gives a person two small documents, one of sums by platform and one of contents, in columns: a
range costs a few bytes for each of its days, and the range before it needs the sums alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from minitik_dagster.analytics.increases import summed
from minitik_dagster.analytics.metrics import ADDITIVE, ENGAGEMENTS, OFFERED
from minitik_dagster.db.types import Platform

Document = dict[str, Any]
_CONTENTS: Final = "/contents"


def sums_id(user_id: str) -> str:
    """Return the id, in its partition, of the person's sums by platform."""
    return user_id


def contents_id(user_id: str) -> str:
    """Return the id, in its partition, of the increases of the person's contents."""
    return user_id + _CONTENTS


def user_documents(accounts: Iterable[Mapping[str, Any]]) -> list[Document]:
    """Return the two documents of each person and day; pure."""
    by_user: dict[tuple[str, Any], list[Mapping[str, Any]]] = defaultdict(list)
    for row in accounts:
        by_user[str(row["userId"]), row["day"]].append(row)
    return [
        document
        for _, rows in sorted(by_user.items())
        for document in (_sums(rows), _contents(rows))
    ]


def _head(rows: Sequence[Mapping[str, Any]]) -> Document:
    return {"userId": rows[0]["userId"], "day": rows[0]["day"]}


def _sums(rows: Sequence[Mapping[str, Any]]) -> Document:
    by_platform: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_platform[row["platform"]].append(row["totals"])
    return {
        "_id": sums_id(str(rows[0]["userId"])),
        **_head(rows),
        "capturedAt": max(row["capturedAt"] for row in rows),
        "platforms": {
            platform: {
                **{name: summed(totals[name] for totals in told) for name in ADDITIVE},
                "whole": all(_is_whole(Platform(platform), totals) for totals in told),
            }
            for platform, told in sorted(by_platform.items())
        },
    }


def _is_whole(platform: Platform, totals: Mapping[str, int | None]) -> bool:
    """Whether all that a rate of engagement is made of is known of an account's day."""
    parts = [name for name in ENGAGEMENTS if name in OFFERED[platform]]
    return all(totals[name] is not None for name in ("views", *parts))


def _contents(rows: Sequence[Mapping[str, Any]]) -> Document:
    by_content: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        for entry in row["posts"]:
            by_content[str(entry["contentId"])].append(entry)
    told = sorted(by_content.items())
    return {
        "_id": contents_id(str(rows[0]["userId"])),
        **_head(rows),
        "contentIds": [content_id for content_id, _ in told],
        **{
            name: [summed(entry[name]["increase"] for entry in entries) for _, entries in told]
            for name in ADDITIVE
        },
    }


def day_in(document: Mapping[str, Any]) -> date:
    """Return the document's day."""
    day: date = document["day"].date()
    return day

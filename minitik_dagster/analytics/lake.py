"""A day's increases as flat rows, for those who work with tables: a row per post and day."""

from collections.abc import Iterable, Iterator
from typing import Any

from minitik_dagster.analytics.metrics import NAMES
from minitik_dagster.analytics.store import Document

TEXTS = ("publication_id", "content_id", "account_id", "user_id", "platform", "platform_post_id")
_OF_POST = {
    "publication_id": "publicationId",
    "content_id": "contentId",
    "platform_post_id": "platformPostId",
}
_OF_ACCOUNT = {"account_id": "accountId", "user_id": "userId", "platform": "platform"}


def lake_rows(documents: Iterable[Document]) -> Iterator[dict[str, Any]]:
    """Yield a row per post of the daily documents; null = not known."""
    for document in sorted(documents, key=lambda one: str(one["accountId"])):
        for post in document["posts"]:
            row: dict[str, Any] = {"day": document["day"].date()}
            row |= {name: post[source] for name, source in _OF_POST.items()}
            row |= {name: document[source] for name, source in _OF_ACCOUNT.items()}
            row |= {"captured_at": post["capturedAt"], "readings": post["readings"]}
            for name in NAMES:
                row[f"{name}_increase"] = post[name]["increase"]
                row[f"{name}_total"] = post[name]["total"]
                row[f"{name}_span_days"] = post[name]["spanDays"]
            yield row

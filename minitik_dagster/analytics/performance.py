"""What each post and each account has come to: latest totals and growth, from the daily rollups.

Also into `publications.metrics`, where the old system's readers look.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import Connection, text

from minitik_dagster.analytics.increases import summed
from minitik_dagster.analytics.metrics import ADDITIVE, NAMES, engagement_rate
from minitik_dagster.analytics.names import CONTENT_PERFORMANCE, DAILY
from minitik_dagster.analytics.store import AnalyticsStore, Document
from minitik_dagster.clock import iso_z
from minitik_dagster.db.types import Platform

# Growth over so many UTC days, today included.
GROWTH_DAYS: Final = (1, 7, 30)
_SAVE = """
UPDATE publications p
SET metrics = CASE WHEN jsonb_typeof(p.metrics) = 'object' THEN p.metrics ELSE '{}'::jsonb END
    || CAST(v.metrics AS jsonb)
FROM unnest(CAST(:ids AS text[]), CAST(:metrics AS text[])) AS v(id, metrics)
WHERE p.id = v.id AND (p.metrics IS NULL OR NOT p.metrics @> CAST(v.metrics AS jsonb))
"""


def partition_keys(today: date, days: int) -> list[str]:
    """Return the keys of the last `days` daily partitions, today's the last."""
    return [f"{today - timedelta(days=n):%Y-%m-%d}" for n in reversed(range(days))]


def content_documents(store: AnalyticsStore, today: date) -> Iterator[tuple[str, list[Document]]]:
    """Yield (account, a document for each of its posts), account by account.

    A post without a reading in the last 30 days keeps its totals.
    """
    keys = partition_keys(today, GROWTH_DAYS[-1])
    accounts = {str(row["accountId"]) for row in store.rows(DAILY, keys, {}, ("accountId",))}
    for account_id in sorted(accounts):
        days = store.documents(DAILY, keys, [account_id])
        earlier = store.rows(CONTENT_PERFORMANCE, [account_id], {})
        yield account_id, posts_of(days, earlier, today)


def posts_of(days: Sequence[Document], earlier: Sequence[Document], today: date) -> list[Document]:
    """Return what an account's posts have come to, from its daily documents."""
    entries: dict[str, list[tuple[date, Document]]] = defaultdict(list)
    for row in sorted(days, key=lambda one: one["day"]):
        for entry in row["posts"]:
            entries[entry["publicationId"]].append((row["day"].date(), entry))
    found = {
        publication_id: _post(days[0], told, today) for publication_id, told in entries.items()
    }
    for document in earlier:
        kept = {k: v for k, v in document.items() if k not in {"partition", "generation"}}
        kept["_id"] = document["publicationId"]
        kept["growth"] = {f"{n}d": dict.fromkeys(NAMES) for n in GROWTH_DAYS}
        found.setdefault(document["publicationId"], kept)
    return [found[one] for one in sorted(found)]


def _post(account: Document, told: Sequence[tuple[date, Document]], today: date) -> Document:
    latest = told[-1][1]
    totals = {name: _last(entry[name]["total"] for _, entry in told) for name in NAMES}
    return {
        "_id": latest["publicationId"],
        "publicationId": latest["publicationId"],
        "contentId": latest["contentId"],
        "platformPostId": latest["platformPostId"],
        "accountId": account["accountId"],
        "userId": account["userId"],
        "platform": account["platform"],
        "capturedAt": latest["capturedAt"],
        "totals": totals,
        "engagementRate": engagement_rate(Platform(account["platform"]), totals),
        "growth": {
            f"{n}d": {
                name: summed(
                    entry[name]["increase"]
                    for day, entry in told
                    if day > today - timedelta(days=n)
                )
                for name in NAMES
            }
            for n in GROWTH_DAYS
        },
    }


def _last(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return known[-1] if known else None


def account_document(account_id: str, posts: Sequence[Document]) -> Document:
    """Return what an account has come to: the sums of what is known of its posts."""
    totals = {name: summed(post["totals"][name] for post in posts) for name in ADDITIVE}
    return {
        "_id": account_id,
        "accountId": account_id,
        "userId": posts[0]["userId"],
        "platform": posts[0]["platform"],
        "posts": len(posts),
        "capturedAt": max(post["capturedAt"] for post in posts),
        "totals": totals,
        "engagementRate": engagement_rate(Platform(posts[0]["platform"]), totals),
        "growth": {
            f"{n}d": {
                name: summed(post["growth"][f"{n}d"][name] for post in posts) for name in ADDITIVE
            }
            for n in GROWTH_DAYS
        },
    }


def account_documents(store: AnalyticsStore) -> Iterator[tuple[str, list[Document]]]:
    """Yield (account, its one document) of every account that content_performance knows."""
    with_posts = store.partitions(CONTENT_PERFORMANCE)
    for account_id in with_posts:
        posts = store.rows(CONTENT_PERFORMANCE, [account_id], {})
        if posts:
            yield account_id, [account_document(account_id, posts)]


def save_metrics(connection: Connection, posts: Iterable[Mapping[str, Any]]) -> int:
    """Write the latest totals into `publications.metrics`; returns how many rows changed."""
    told = {
        str(post["publicationId"]): json.dumps(
            {
                **post["totals"],
                "engagementRate": post["engagementRate"],
                "capturedAt": iso_z(post["capturedAt"]),
            }
        )
        for post in posts
    }
    values = {"ids": list(told), "metrics": list(told.values())}
    return connection.execute(text(_SAVE), values).rowcount if told else 0

"""The readings of posts, those of the old collector among them.

Its documents name no publication: they are read as an adopted post's where content and account agree, and
the platform's id where both tell one. What fits no post, or more than one, is nobody's and is not read.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from minitik_dagster.analytics.readings import Reading, Series
from minitik_dagster.analytics.store import AnalyticsStore

_Owners = Mapping[tuple[str, str], Sequence[Series]]


def readings_of_series(
    store: AnalyticsStore,
    series: Sequence[Series],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[Reading]:
    """Yield these posts' readings with since < timestamp <= until, in no order."""
    ids = [one.publication_id for one in series]
    yield from store.readings(ids, since=since, until=until)
    adopted = [one for one in series if one.adopted]
    owners = _by_content_and_account(adopted)
    contents = sorted({one.content_id for one in adopted})
    for document in store.old_documents(contents, since=since, until=until):
        owner = owner_of(document["metadata"], owners)
        if owner is not None:
            yield replace(Reading.from_document(document), publication_id=owner.publication_id)


def _by_content_and_account(series: Sequence[Series]) -> _Owners:
    owners: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for one in series:
        owners[one.content_id, one.account_id].append(one)
    return owners


def owner_of(metadata: Mapping[str, Any], owners: _Owners) -> Series | None:
    """Return the post that a document without a publication is of; None where that is not certain."""
    key = (str(metadata.get("contentId") or ""), str(metadata.get("accountId") or ""))
    post_id = str(metadata.get("platformPostId") or "")
    fits = [
        one
        for one in owners.get(key, ())
        if not post_id or not one.platform_post_id or one.platform_post_id == post_id
    ]
    exact = [one for one in fits if post_id and one.platform_post_id == post_id]
    chosen = exact or fits
    return chosen[0] if len(chosen) == 1 else None

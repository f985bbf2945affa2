"""A day's increases, one document per account: what `analytics_daily` holds.

Readings decide alone, so that days may be rolled up in any order and again at any time. A day whose
readings have begun to expire is never rewritten: what is left of them would give other numbers.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from sqlalchemy import Connection

from minitik_dagster.analytics.days import day_of, end_of, start_of
from minitik_dagster.analytics.increases import Counter, counters_of, summed
from minitik_dagster.analytics.live_posts import live_posts
from minitik_dagster.analytics.metrics import ADDITIVE, OFFERED
from minitik_dagster.analytics.names import DAILY, RETENTION_SECONDS, USER_DAILY
from minitik_dagster.analytics.readings import Reading, Series, earliest_per_slot
from minitik_dagster.analytics.series_readings import readings_of_series
from minitik_dagster.analytics.store import AnalyticsStore, Document
from minitik_dagster.analytics.user_days import user_documents

RETENTION: Final = timedelta(seconds=RETENTION_SECONDS)
# The reading before a day lies at most a week back, twice that with an outage.
_LOOK_BACK: Final = timedelta(days=15)
_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Rollup:
    """Partitions to be written whole: (partition, its documents); `at` is when they were made.

    `beside`: by collection, what is made of the same documents and lies beside them.
    """

    parts: Iterable[tuple[str, Iterable[Document]]]
    at: datetime
    beside: Mapping[str, Callable[[Sequence[Document]], list[Document]]] = field(
        default_factory=dict
    )

    def put(self, store: AnalyticsStore, name: str, partition: str, rows: list[Document]) -> bool:
        """Replace the partition, and what lies beside it; False where it was the same."""
        changed = store.replace_partition(name, partition, rows, at=self.at)
        for other, made in self.beside.items():
            store.replace_partition(other, partition, made(rows), at=self.at)
        if name == DAILY:
            store.settle_late_day(partition, before=self.at)
        return changed


def daily_rollup(parts: Iterable[tuple[str, Iterable[Document]]], at: datetime) -> Rollup:
    """Return days' documents by account, with those by person beside them."""
    return Rollup(parts, at, {USER_DAILY: user_documents})


def is_frozen(day: date, now: datetime) -> bool:
    """Whether the readings that the day is made of have begun to expire."""
    return start_of(day) - _LOOK_BACK < now - RETENTION


def as_known(series: Series, now: datetime) -> Series:
    """Return the series as it can be known: before the oldest reading there may be, nothing is."""
    return replace(series, adopted=series.adopted or series.live_at < now - RETENTION)


def day_documents(
    store: AnalyticsStore, connection: Connection, day: date, *, now: datetime
) -> list[Document]:
    """Return the day's documents, by account; only accounts with a reading in the day have one."""
    start, end = start_of(day), end_of(day)
    ids, old_contents = store.read_between(start, end)
    by_account: dict[str, list[tuple[Series, Document]]] = defaultdict(list)
    seen: set[str] = set()
    found = [live_posts(connection, ids=some) for some in _parts(ids)]
    found += [live_posts(connection, content_ids=some) for some in _parts(old_contents)]
    for posts in found:
        series = [post.series for post in posts if post.series.publication_id not in seen]
        seen |= {one.publication_id for one in series}
        readings = readings_of(store, series, opening=start, until=end)
        for one in series:
            told = readings.get(one.publication_id, [])
            if told and told[-1].timestamp > start:
                entry = post_day(as_known(one, now), told, day)
                by_account[one.account_id].append((one, entry))
    return [account_day(day, rows) for _, rows in sorted(by_account.items())]


def _parts(ids: Sequence[str]) -> Iterator[list[str]]:
    for first in range(0, len(ids), _AT_ONCE):
        yield list(ids[first : first + _AT_ONCE])


def readings_of(
    store: AnalyticsStore, series: Sequence[Series], *, opening: datetime, until: datetime
) -> Mapping[str, list[Reading]]:
    """Return what the counters at `opening` and up to `until` take, by publication, in time's order.

    A post of which some metric's last reading lies further back is read from its beginning.
    """
    since = opening - _LOOK_BACK
    found = _by_publication(readings_of_series(store, series, since=since, until=until))
    further = [
        one
        for one in series
        if one.live_at <= since
        and not OFFERED[one.platform]
        <= {
            name
            for reading in found[one.publication_id]
            if reading.timestamp <= opening
            for name, value in reading.counters.items()
            if value is not None
        }
    ]
    found.update(_by_publication(readings_of_series(store, further, until=until)))
    return found


def _by_publication(readings: Iterable[Reading]) -> dict[str, list[Reading]]:
    found: dict[str, list[Reading]] = defaultdict(list)
    for reading in earliest_per_slot(readings):
        found[reading.publication_id].append(reading)
    return found


def post_day(
    series: Series, readings: Sequence[Reading], day: date, zone: tzinfo = UTC
) -> Document:
    """Return one post's day: each metric's increase, and when it was last read."""
    start, end = start_of(day, zone), end_of(day, zone)
    within = [one for one in readings if start < one.timestamp <= end]
    return {
        "publicationId": series.publication_id,
        "contentId": series.content_id,
        "platformPostId": series.platform_post_id,
        "capturedAt": within[-1].timestamp,
        "readings": len(within),
        **dict(_figures(counters_of(series, readings), day, zone)),
    }


def _figures(
    counters: Mapping[str, Counter], day: date, zone: tzinfo
) -> Iterator[tuple[str, Document]]:
    for name, counter in counters.items():
        found = counter.day(day, zone)
        yield (
            name,
            {
                "increase": found.increase,
                "total": found.total,
                "spanDays": found.span_days,
                "corrected": found.corrected,
                "since": found.since,
            },
        )


def zone_days(
    store: AnalyticsStore,
    series: Sequence[Series],
    days: Sequence[date],
    zone: tzinfo,
    *,
    now: datetime,
) -> list[Document]:
    """Return documents like day_documents', of days in a person's zone, from the readings themselves."""
    opening, until = start_of(days[0], zone), end_of(days[-1], zone)
    readings = readings_of(store, series, opening=opening, until=until)
    return zone_documents(series, readings, days, zone, now=now)


def zone_documents(
    series: Sequence[Series],
    readings: Mapping[str, Sequence[Reading]],
    days: Sequence[date],
    zone: tzinfo,
    *,
    now: datetime,
) -> list[Document]:
    """Return the days' documents by account; `readings` by publication, in time's order; pure."""
    by_account: dict[tuple[date, str], list[tuple[Series, Document]]] = defaultdict(list)
    wanted = frozenset(days)
    for one in series:
        told = readings.get(one.publication_id, [])
        for day in {day_of(reading.timestamp, zone) for reading in told} & wanted:
            entry = post_day(as_known(one, now), told, day, zone)
            by_account[day, one.account_id].append((one, entry))
    return [account_day(day, rows) for (day, _), rows in sorted(by_account.items())]


def account_day(day: date, rows: Sequence[tuple[Series, Document]]) -> Document:
    """Return an account's day: its posts, and the sums of what is known of them."""
    series = rows[0][0]
    posts = sorted((entry for _, entry in rows), key=lambda entry: str(entry["publicationId"]))
    return {
        "_id": series.account_id,
        "day": datetime.combine(day, time(), UTC),
        "accountId": series.account_id,
        "userId": series.user_id,
        "platform": series.platform.value,
        "capturedAt": max(entry["capturedAt"] for entry in posts),
        "totals": {name: summed(entry[name]["increase"] for entry in posts) for name in ADDITIVE},
        "posts": posts,
    }

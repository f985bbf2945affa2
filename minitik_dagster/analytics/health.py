"""Questions about the readings: fresh by age, complete, growing, and what the dashboard says they are.

The checks of `metric_snapshots` ask them; each answers with ids and a count.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from minitik_dagster.analytics.cadence import CADENCE, DAY, GRACE, HOUR, last_due, next_due
from minitik_dagster.analytics.live_posts import LivePost, live_posts
from minitik_dagster.analytics.names import CONTENT_PERFORMANCE, DAILY
from minitik_dagster.analytics.performance import GROWTH_DAYS
from minitik_dagster.analytics.readings import Reading, Series, earliest_per_slot
from minitik_dagster.analytics.series_readings import readings_of_series
from minitik_dagster.analytics.store import AnalyticsStore, Document

_SHOWN: Final = 20
# The newest posts that are looked at in one run of the checks.
MOST_POSTS: Final = 20_000
_AT_ONCE: Final = 500
_LOOK_BACK: Final = timedelta(days=9)
_WHOLE: Final = f"{GROWTH_DAYS[-1]}d"


@dataclass
class Found:
    """What a question found: ids (the first 20), how many, and by class."""

    ids: list[str] = field(default_factory=list)
    total: int = 0
    by_class: Counter[str] = field(default_factory=Counter)

    def add(self, identity: str, kind: str) -> None:
        """Note one."""
        self.total += 1
        self.by_class[kind] += 1
        if len(self.ids) < _SHOWN:
            self.ids.append(identity)

    def join(self, other: "Found") -> None:
        """Add what was found among other posts."""
        self.total += other.total
        self.by_class += other.by_class
        self.ids += other.ids[: _SHOWN - len(self.ids)]


@dataclass
class Looked:
    """Some posts that are still read, their readings of the last days, and what the rollups say of them.

    `closing` is, by publication, when its last reading of yesterday was taken and what it said;
    `performance` is its document of content_performance.
    """

    now: datetime
    posts: Sequence[LivePost]
    readings: Mapping[str, Sequence[Reading]]
    closing: Mapping[str, tuple[datetime, int | None]]
    performance: Mapping[str, Document] = field(default_factory=dict)


def look(store: AnalyticsStore, connection: Connection, now: datetime) -> Iterator[Looked]:
    """Yield what the questions need, so many posts at a time that memory stays flat; the newest first."""
    posts = [
        post
        for post in live_posts(connection, still_live=True)
        if post.connected and post.has_id and next_due(post.series.live_at, now) is not None
    ]
    posts = sorted(posts, key=lambda post: post.series.live_at, reverse=True)[:MOST_POSTS]
    closing = {
        entry["publicationId"]: (entry["capturedAt"], entry["views"]["total"])
        for row in store.rows(DAILY, [f"{now - DAY:%Y-%m-%d}"], {})
        for entry in row["posts"]
    }
    for start in range(0, len(posts), _AT_ONCE):
        some = posts[start : start + _AT_ONCE]
        series = [post.series for post in some]
        readings: dict[str, list[Reading]] = defaultdict(list)
        found = readings_of_series(store, series, since=now - _LOOK_BACK)
        for reading in earliest_per_slot(found):
            readings[reading.publication_id].append(reading)
        yield Looked(now, some, readings, closing, _performance(store, series))


def _performance(store: AnalyticsStore, series: Sequence[Series]) -> dict[str, Document]:
    by_account: dict[str, list[str]] = defaultdict(list)
    for one in series:
        by_account[one.account_id].append(one.publication_id)
    found = store.pick(CONTENT_PERFORMANCE, by_account)
    return {str(document["publicationId"]): document for document in found}


def ask_all(
    store: AnalyticsStore, connection: Connection, now: datetime
) -> tuple[dict[str, Found], int]:
    """Ask every question of every post that is looked at; returns the answers, and how many those are."""
    answers, posts = {name: Found() for name in QUESTIONS}, 0
    for looked in look(store, connection, now):
        posts += len(looked.posts)
        for name, (_, ask, _) in QUESTIONS.items():
            answers[name].join(ask(looked))
    return answers, posts


def age_class(live_at: datetime, now: datetime) -> str:
    """Name the rung of the cadence that a post of this age is on."""
    for until, every in CADENCE:
        if now - live_at <= until:
            return f"every {every // HOUR} h" if every < DAY else f"every {every // DAY} d"
    return "no more"


def stale(looked: Looked) -> Found:
    """Posts whose last reading is older than their age class allows: the step, and an hour's grace."""
    found = Found()
    for post in looked.posts:
        due = last_due(post.series.live_at, looked.now - GRACE)
        told = looked.readings.get(post.series.publication_id, [])
        if due is not None and (not told or told[-1].timestamp < due):
            kind = age_class(post.series.live_at, looked.now)
            found.add(post.series.publication_id, kind)
    return found


def incomplete(looked: Looked) -> Found:
    """Readings of the last day that fell due, can be had no more, and are not there."""
    found = Found()
    for post in looked.posts:
        live_at = post.series.live_at
        taken = {one.slot for one in looked.readings.get(post.series.publication_id, [])}
        for slot in due_slots(live_at, looked.now - DAY, looked.now):
            following = next_due(live_at, slot)
            gone = following is not None and following <= looked.now
            if gone and slot not in taken:
                found.add(post.series.publication_id, age_class(live_at, looked.now))
    return found


def due_slots(live_at: datetime, since: datetime, until: datetime) -> Iterator[datetime]:
    """Yield a post's due instants in (since, until]."""
    slot = next_due(live_at, since)
    while slot is not None and slot <= until:
        yield slot
        slot = next_due(live_at, slot)


def falling(looked: Looked) -> Found:
    """Posts whose views fell between two readings of the last days: platforms do correct them."""
    found = Found()
    for post in looked.posts:
        most = 0
        for reading in looked.readings.get(post.series.publication_id, []):
            views = reading.counters.get("views")
            if views is not None and views < most:
                found.add(post.series.publication_id, post.series.platform.value.lower())
                break
            most = max(most, views or 0)
    return found


def unreconciled(looked: Looked) -> Found:
    """Posts of which the rollups say other views than the platform's own counter, as last read.

    Yesterday must close with it, so must the post's total; and where a post's whole life lies in the
    days that are added up, its increases must come to that total: no day is lost or counted twice.
    """
    found = Found()
    for post in looked.posts:
        readings = looked.readings.get(post.series.publication_id, [])
        views = {
            one.timestamp: count
            for one in readings
            if (count := one.counters.get("views")) is not None
        }
        closing = looked.closing.get(post.series.publication_id)
        told = [] if closing is None else [closing]
        document = looked.performance.get(post.series.publication_id)
        adds_up = True
        if document is not None:
            total = document["totals"]["views"]
            told.append((document["capturedAt"], total))
            if _is_added_up_whole(post.series, looked.now):
                adds_up = document["growth"][_WHOLE]["views"] == total
        differs = any(views.get(at, total) != total for at, total in told)
        if differs or not adds_up:
            found.add(post.series.publication_id, post.series.platform.value.lower())
    return found


def _is_added_up_whole(series: Series, now: datetime) -> bool:
    # Two days less than are added up: the rollup may be some hours old, and zones differ.
    return not series.adopted and series.live_at > now - timedelta(days=GROWTH_DAYS[-1] - 2)


QUESTIONS: Final[dict[str, tuple[str, Callable[[Looked], Found], bool]]] = {
    "readings_fresh": (
        "Every live post was read within the step of its age class, and an hour's grace.",
        stale,
        True,
    ),
    "readings_complete": (
        "No reading of the last day was missed for ever.",
        incomplete,
        True,
    ),
    "views_monotone": (
        "No post's views fell: platforms take counts back, so this is a warning.",
        falling,
        False,
    ),
    "rollups_reconciled": (
        "The rollups close with the platforms' own counters, and days add up to them.",
        unreconciled,
        True,
    ),
}
"""By name: the description, the question, and whether its failure is an error (else a warning)."""

"""Readings that arrive when their day is over: which days' rollups they touch.

Noted when they are stored, and asked for by the schedule of the rollups until the days have been made
again.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from minitik_dagster.analytics.days import day_of
from minitik_dagster.analytics.metrics import NAMES
from minitik_dagster.analytics.readings import Reading
from minitik_dagster.analytics.store import AnalyticsStore


def note_late(
    store: AnalyticsStore, documents: Sequence[Mapping[str, Any]], now: datetime
) -> set[date]:
    """Note the days that these new readings touch, where theirs have ended; returns them.

    Costs nothing for readings of today. Raises DependencyDownError without MongoDB.
    """
    today = day_of(now)
    readings = (Reading.from_document(document) for document in documents)
    late = [one for one in readings if day_of(one.timestamp) < today]
    if not late:
        return set()
    ids = sorted({one.publication_id for one in late})
    later = store.readings(ids, since=min(one.timestamp for one in late))
    days = days_touched(late, later)
    store.note_late_days([f"{day:%Y-%m-%d}" for day in sorted(days)], at=now)
    return days


def days_touched(late: Iterable[Reading], stored: Iterable[Reading]) -> set[date]:
    """Return the days whose increases these readings change, given all that is stored; pure.

    Their own, and of each metric the next day on which it was read: that increase was counted from
    further back. Of a slot read twice the earlier reading counts, so the other's metrics go with it.
    """
    by_post: dict[str, list[Reading]] = defaultdict(list)
    for one in sorted(stored, key=lambda reading: reading.timestamp):
        by_post[one.publication_id].append(one)
    touched = set()
    for reading in late:
        touched.add(day_of(reading.timestamp))
        open_metrics = _known(reading)
        for one in by_post[reading.publication_id]:
            if one.timestamp <= reading.timestamp:
                continue
            if not open_metrics:
                break
            touched.add(day_of(one.timestamp))
            if one.slot == reading.slot:
                open_metrics |= _known(one)
            else:
                open_metrics -= _known(one)
    return touched


def _known(reading: Reading) -> set[str]:
    return {name for name in NAMES if reading.counters.get(name) is not None}

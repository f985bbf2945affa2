"""Lateness by day and platform, against its objective.

Lateness is the commit's first byte minus the due instant (docs/concepts.md), of posts that were scheduled
early enough to be prepared: what was published at once is late by its preparation and is counted apart. A
post without a commit at the end of its day, though due, wanted and not paused, is missed: it counts against
the objective's share as one that was late.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from sqlalchemy import Connection, text

from minitik_dagster.publishing.queries import NOW

# Of a hundred posts ninety-nine are sent within a second of their instant. The design's own aim is 25 ms on a
# machine of its own (README.md, "Figures"); a second is what a creator can see.
OBJECTIVE: Final = timedelta(seconds=1)
OBJECTIVE_SHARE: Final = 0.99
_WORST: Final = 20

_DAY: Final = """
    FROM publications p WHERE p."dueAt" >= CAST(:day AS timestamp)
        AND p."dueAt" < CAST(:day AS timestamp) + interval '1 day'
"""
_LATE: Final = 'extract(epoch FROM p."committedAt" - p."dueAt") * 1000'
# Prepared from the moment it was made: there was no time ahead of it.
_AT_ONCE: Final = 'p."prepareAt" <= p."createdAt"'
_MISSED: Final = f"""p."committedAt" IS NULL AND p."dueAt" < {NOW} - CAST(:objective AS interval)
    AND p.stage IN ('scheduled','preparing','prepared','parked','failed')"""
_MEASURE: Final = text(
    f"""
    WITH day AS (
        SELECT p.platform, CAST({_LATE} AS double precision) AS late,
            COALESCE({_AT_ONCE}, false) AS at_once,
            {_MISSED} AS missed
        {_DAY} AND p.stage IS NOT NULL
    ), measured AS (
        SELECT platform,
            count(late) FILTER (WHERE NOT at_once) AS posts,
            count(*) FILTER (WHERE NOT at_once AND late <= :objective_ms) AS within,
            count(*) FILTER (WHERE NOT at_once AND missed) AS missed,
            count(late) FILTER (WHERE at_once) AS at_once,
            percentile_disc(0.5) WITHIN GROUP (ORDER BY late) FILTER (WHERE NOT at_once) AS p50,
            percentile_disc(0.99) WITHIN GROUP (ORDER BY late) FILTER (WHERE NOT at_once) AS p99,
            max(late) FILTER (WHERE NOT at_once) AS longest
        FROM day GROUP BY platform
    ), gone AS (
        DELETE FROM lateness_days WHERE day = :day
            AND platform NOT IN (SELECT platform FROM measured)
    )
    INSERT INTO lateness_days (day, platform, posts, within, "objectiveMs", missed, "atOnce", "p50Ms",
        "p99Ms", "maxMs", "measuredAt")
    SELECT :day, platform, posts, within, :objective_ms, missed, at_once, p50, p99, longest, {NOW}
    FROM measured
    ON CONFLICT (day, platform) DO UPDATE SET posts = EXCLUDED.posts, within = EXCLUDED.within,
        "objectiveMs" = EXCLUDED."objectiveMs", missed = EXCLUDED.missed,
        "atOnce" = EXCLUDED."atOnce", "p50Ms" = EXCLUDED."p50Ms", "p99Ms" = EXCLUDED."p99Ms",
        "maxMs" = EXCLUDED."maxMs", "measuredAt" = EXCLUDED."measuredAt"
    """  # noqa: S608 - constants
)
_READ: Final = text(
    """
    SELECT day, lower(CAST(platform AS text)) AS platform, posts, within,
        "objectiveMs" AS objective_ms, missed, "atOnce" AS at_once, "p50Ms" AS p50_ms,
        "p99Ms" AS p99_ms, "maxMs" AS max_ms
    FROM lateness_days WHERE day >= :since ORDER BY day DESC, platform
    """
)
_WORST_OF: Final = text(
    f"""
    SELECT p.id, lower(CAST(p.platform AS text)) AS platform,
        CAST({_LATE} AS double precision) AS late_ms
    {_DAY} AND NOT COALESCE({_AT_ONCE}, false) AND {_LATE} > :objective_ms
    ORDER BY late_ms DESC LIMIT :limit
    """
)
# At each scrape, so by indexes alone: nothing is sent before its instant, and what failed for good has its dead
# letter of these days. The days have names, not dates: a monitor would keep a series of each date.
_COLUMNS: Final = f"""
    SELECT lower(CAST(p.platform AS text)) AS platform, {_MISSED} AS missed, p."dueAt",
        p."committedAt", p."acceptedAt", p."verifiedAt",
        CASE WHEN p."dueAt" < CAST({NOW} AS date) THEN 'yesterday' ELSE 'today' END AS day
    FROM publications p WHERE p."dueAt" >= CAST({NOW} AS date) - interval '1 day'
        AND p."dueAt" < CAST({NOW} AS date) + interval '1 day' AND NOT COALESCE({_AT_ONCE}, false)
"""  # noqa: S608 - constants
_TWO_DAYS: Final = text(
    f"""
    WITH day AS (
        {_COLUMNS} AND p."committedAt" >= CAST({NOW} AS date) - interval '1 day'
            AND p.stage IS NOT NULL
        UNION ALL
        {_COLUMNS} AND p."committedAt" IS NULL
            AND p.stage IN ('scheduled','preparing','prepared','parked')
        UNION ALL
        {_COLUMNS} AND p."committedAt" IS NULL AND p.stage = 'failed' AND p.id IN (
            SELECT "publicationId" FROM dead_letters
            WHERE "createdAt" >= CAST({NOW} AS date) - interval '2 days')
    )
    SELECT day, platform, step, count(late) AS posts,
        percentile_disc(0.5) WITHIN GROUP (ORDER BY late) AS p50,
        percentile_disc(0.99) WITHIN GROUP (ORDER BY late) AS p99, max(late) AS longest,
        count(*) FILTER (WHERE late <= extract(epoch FROM CAST(:objective AS interval))) AS within,
        count(*) FILTER (WHERE missed) AS missed
    FROM day CROSS JOIN LATERAL (VALUES ('committed', "committedAt"), ('accepted', "acceptedAt"),
        ('verified', "verifiedAt")) AS one (step, at)
    CROSS JOIN LATERAL (SELECT CAST(extract(epoch FROM at - "dueAt") AS double precision) AS late) AS l
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """  # noqa: S608 - constants
)
_TODAY: Final = text(f"SELECT CAST({NOW} AS date)")


@dataclass(frozen=True)
class Day:
    """One platform on one UTC day of the due instant; lateness in milliseconds, None of nothing sent."""

    day: date
    platform: str
    posts: int
    within: int
    objective_ms: int
    missed: int
    at_once: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None

    @property
    def share(self) -> float | None:
        """The share of posts within the objective, missed ones included; None where there were none."""
        wanted = self.posts + self.missed
        return self.within / wanted if wanted else None

    @property
    def is_kept(self) -> bool:
        """Whether the objective was kept; a day without posts keeps it."""
        return self.share is None or self.share >= OBJECTIVE_SHARE


@dataclass(frozen=True)
class StepOfDay:
    """One step of a platform's posts of a day, `yesterday` or `today` (UTC), measured just now.

    `p50`, `p99` and `longest` are seconds after the due instant, None of nothing that came so far; `within`
    and `missed` as in `Day`, to be read of the step `committed`.
    """

    day: str
    platform: str
    step: str
    posts: int
    p50: float | None
    p99: float | None
    longest: float | None
    within: int
    missed: int

    @property
    def share(self) -> float | None:
        """The share of posts within the objective, missed ones included; None where there were none."""
        wanted = self.posts + self.missed
        return self.within / wanted if wanted else None


@dataclass(frozen=True)
class Late:
    """A post beyond the objective; `late_ms` in milliseconds."""

    id: str
    platform: str
    late_ms: float


def measure(connection: Connection, day: date) -> list[Day]:
    """Measure one day anew from the publications, and keep it; return its platforms."""
    milliseconds = round(OBJECTIVE / timedelta(milliseconds=1))
    values = {"day": day, "objective": OBJECTIVE, "objective_ms": milliseconds}
    connection.execute(_MEASURE, values)
    return [one for one in read(connection, day) if one.day == day]


def read(connection: Connection, since: date) -> list[Day]:
    """Return what is kept, the newest day first."""
    rows = connection.execute(_READ, {"since": since}).mappings()
    return [Day(**row) for row in rows]


def two_days(connection: Connection) -> list[StepOfDay]:
    """Return the last complete day and today as they stand now, of posts that could be prepared."""
    rows = connection.execute(_TWO_DAYS, {"objective": OBJECTIVE}).mappings()
    return [StepOfDay(**row) for row in rows]


def worst(connection: Connection, day: date) -> list[Late]:
    """Return a day's posts beyond the objective, the latest first, twenty at most."""
    values = {
        "day": day,
        "objective_ms": round(OBJECTIVE / timedelta(milliseconds=1)),
        "limit": _WORST,
    }
    return [Late(**row) for row in connection.execute(_WORST_OF, values).mappings()]


def days_back(connection: Connection, days: int) -> date:
    """Return the day so many days before today, by the database's clock, in UTC."""
    today: date = connection.execute(_TODAY).scalar_one()
    return today - timedelta(days=days)


def as_table(days: Sequence[Day]) -> str:
    """Return the days as a Markdown table."""
    lines = [
        "| day | platform | posts | p50 ms | p99 ms | max ms | within | missed | at once |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in days:
        figures = (_shown(value) for value in (one.p50_ms, one.p99_ms, one.max_ms))
        share = "–" if one.share is None else f"{one.share:.2%}"
        lines.append(
            f"| {one.day} | {one.platform} | {one.posts} | {' | '.join(figures)} | {share} "
            f"| {one.missed} | {one.at_once} |"
        )
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"

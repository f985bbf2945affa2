"""The dictionary of metrics: what each number is, and where each platform keeps it.

docs/analytics.md shows this table and a test holds the two together. A platform that is not named in a
metric's `sources` does not offer it: its value is null, never 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from minitik_dagster.db.types import Platform

_TIKTOK, _INSTAGRAM, _YOUTUBE = Platform.TIKTOK, Platform.INSTAGRAM, Platform.YOUTUBE


@dataclass(frozen=True)
class Source:
    """Where a platform keeps a metric, and what it means by it (the platform's own words, in short)."""

    field: str
    definition: str


@dataclass(frozen=True)
class Metric:
    """One cumulative counter of a post."""

    name: str
    unit: str
    definition: str
    sources: Mapping[Platform, Source]


def _metric(name: str, unit: str, definition: str, **sources: tuple[str, str]) -> Metric:
    by_platform = {Platform(key.upper()): Source(*value) for key, value in sources.items()}
    return Metric(name, unit, definition, MappingProxyType(by_platform))


METRICS: Final[tuple[Metric, ...]] = (
    _metric(
        "views",
        "plays",
        "How often the post was played.",
        tiktok=("view_count", "Views of the video (Video Object)."),
        instagram=(
            "views",
            (
                "How often the reel was played, replays included; in place of plays and impressions, "
                "which were withdrawn on 2025-04-21 (Media Insights)."
            ),
        ),
        youtube=(
            "statistics.viewCount",
            (
                "Playback starts: of Shorts since 2025-03-31, of all formats since 2026-08-24; what was "
                "a view before is engagedViews in the daily reports (revision history)."
            ),
        ),
    ),
    _metric(
        "likes",
        "likes",
        "Likes less those taken back.",
        tiktok=("like_count", "Likes of the video (Video Object)."),
        instagram=("likes", "Likes of the reel (Media Insights)."),
        youtube=("statistics.likeCount", "Likes of the video; absent where they are hidden."),
    ),
    _metric(
        "comments",
        "comments",
        "Comments less those deleted.",
        tiktok=("comment_count", "Comments on the video (Video Object)."),
        instagram=("comments", "Comments on the reel (Media Insights)."),
        youtube=("statistics.commentCount", "Comments; absent where they are switched off."),
    ),
    _metric(
        "shares",
        "shares",
        "How often the post was passed on.",
        tiktok=("share_count", "Shares of the video (Video Object)."),
        instagram=("shares", "Shares of the reel (Media Insights)."),
    ),
    _metric(
        "reach",
        "accounts",
        "Accounts that saw the post at least once; an estimate. Not to be added up over posts.",
        instagram=("reach", "Unique accounts that saw the reel, estimated (Media Insights)."),
    ),
    _metric(
        "impressions",
        "impressions",
        "How often the post was shown. No platform offers it any more: null for new readings.",
    ),
)
NAMES: Final = tuple(metric.name for metric in METRICS)
# What may be added up over posts: one account that saw two posts would be counted twice.
ADDITIVE: Final = ("views", "likes", "comments", "shares")
ENGAGEMENTS: Final = ("likes", "comments", "shares")

OFFERED: Final[Mapping[Platform, frozenset[str]]] = MappingProxyType(
    {
        platform: frozenset(metric.name for metric in METRICS if platform in metric.sources)
        for platform in Platform
    }
)


def engagement_rate(platform: Platform, counters: Mapping[str, int | None]) -> float | None:
    """Return `(likes + comments + shares) / views * 100` of the parts that the platform offers.

    0 only where views is 0; null where views or an offered part is null, and where views is negative
    (a day's correction). Rounded to 4 decimals.
    """
    views = counters.get("views")
    parts = [counters.get(name) for name in ENGAGEMENTS if name in OFFERED[platform]]
    known = [part for part in parts if part is not None]
    if views is None or views < 0 or len(known) < len(parts):
        return None
    return round(sum(known) / views * 100, 4) if views else 0.0


@dataclass(frozen=True)
class ReportMetric:
    """A figure of YouTube's daily reports: of a Pacific day, not a counter."""

    name: str
    unit: str
    definition: str


REPORT_METRICS: Final[tuple[ReportMetric, ...]] = (
    ReportMetric("views", "plays", "Playback starts."),
    ReportMetric("engagedViews", "views", "Views in the older meaning: those that went on."),
    ReportMetric("estimatedMinutesWatched", "minutes", "Minutes watched, estimated."),
    ReportMetric("averageViewDuration", "seconds", "Mean length of a view."),
    ReportMetric("averageViewPercentage", "%", "Mean part of the video that a view saw."),
    ReportMetric("likes", "likes", "Likes given on the day."),
    ReportMetric("comments", "comments", "Comments written on the day."),
    ReportMetric("shares", "shares", "Shares of the day."),
    ReportMetric("subscribersGained", "people", "New subscribers of the day."),
)

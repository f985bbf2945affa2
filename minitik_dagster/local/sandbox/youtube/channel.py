"""The channel and its uploads, batched statistics, and Analytics by day.

Rules: "Channels: list", "PlaylistItems: list", "Videos: batchGetStats" of the Data API; "Reports:
query" of YouTube Analytics.
"""

import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from minitik_dagster.local.sandbox.http import Call, Reply, json_reply
from minitik_dagster.local.sandbox.limits import iso_utc
from minitik_dagster.local.sandbox.numbers import METRICS
from minitik_dagster.local.sandbox.posts import counters
from minitik_dagster.local.sandbox.store import Row
from minitik_dagster.local.sandbox.world import World
from minitik_dagster.local.sandbox.youtube.envelope import google_error
from minitik_dagster.local.sandbox.youtube.oauth import ANALYTICS_SCOPE, READ_SCOPES, authorized
from minitik_dagster.local.sandbox.youtube.quota import Quota
from minitik_dagster.local.sandbox.youtube.videos import YouTubeVideos, parts_of

_CHANNEL_PARTS: Final = frozenset({"id", "snippet", "contentDetails", "statistics", "status"})
_ITEM_PARTS: Final = frozenset({"id", "snippet", "contentDetails", "status"})
_METRICS: Final = (
    "views", "engagedViews", "estimatedMinutesWatched", "averageViewDuration",
    "averageViewPercentage", "likes", "comments", "shares", "subscribersGained",
)  # fmt: skip
_PACIFIC: Final = ZoneInfo("America/Los_Angeles")
_PAGE_DEFAULT: Final = 5
_PAGE_MAX: Final = 50


def _uploads_of(channel: str) -> str:
    return "UU" + channel[2:]


class YouTubeChannel:
    """What can be read of a channel."""

    def __init__(self, world: World, videos: YouTubeVideos, quota: Quota) -> None:
        self._world = world
        self._videos = videos
        self._quota = quota

    async def channels(self, call: Call) -> Reply:
        """Answer `channels.list?mine=true`, with the playlist of all uploads."""
        channel = authorized(self._world, call, READ_SCOPES)
        if isinstance(channel, Reply):
            return channel
        if refused := self._quota.units("list", call.now_ms):
            return refused
        parts = parts_of(call, _CHANNEL_PARTS)
        if isinstance(parts, Reply):
            return parts
        if call.query.get("mine") != "true" and call.query.get("id") != channel:
            return google_error("missingRequiredParameter", "No filter selected.")
        row = self._world.accounts.find("youtube", channel)
        name = row["username"] if row else channel
        item: dict[str, Any] = {"kind": "youtube#channel", "id": channel}
        if "snippet" in parts:
            item["snippet"] = {"title": name, "customUrl": "@" + name}
        if "contentDetails" in parts:
            item["contentDetails"] = {"relatedPlaylists": {"uploads": _uploads_of(channel)}}
        if "statistics" in parts:
            item["statistics"] = {"videoCount": str(len(self._uploads(channel, call.as_of_ms)))}
        if "status" in parts:
            item["status"] = {"privacyStatus": "public", "isLinked": True}
        return json_reply(200, {"kind": "youtube#channelListResponse", "items": [item]})

    def _uploads(self, channel: str, as_of_ms: int) -> list[Row]:
        return self._world.store.all(
            "SELECT * FROM youtube_videos WHERE account = ? AND deleted_at IS NULL "
            "AND created_at <= ? ORDER BY created_at DESC, rowid DESC",
            channel,
            as_of_ms,
        )

    async def playlist_items(self, call: Call) -> Reply:
        """List a channel's uploads, newest first; the owner sees the private ones too."""
        channel = authorized(self._world, call, READ_SCOPES)
        if isinstance(channel, Reply):
            return channel
        if refused := self._quota.units("list", call.now_ms):
            return refused
        parts = parts_of(call, _ITEM_PARTS)
        if isinstance(parts, Reply):
            return parts
        playlist = call.query.get("playlistId", "")
        if playlist != _uploads_of(channel):
            return google_error("playlistNotFound", "The playlist cannot be found.", 404)
        size, start = call.query.get("maxResults", str(_PAGE_DEFAULT)), call.query.get("pageToken")
        if not size.isdigit() or int(size) > _PAGE_MAX or not (start or "0").isdigit():
            return google_error("badRequest", "maxResults or pageToken is invalid.")
        self._videos.release_due()
        rows, first = self._uploads(channel, call.as_of_ms), int(start or 0)
        shown = rows[first : first + int(size)]
        answer: dict[str, Any] = {
            "kind": "youtube#playlistItemListResponse",
            "items": [self._item(row, playlist, parts) for row in shown],
            "pageInfo": {"totalResults": len(rows), "resultsPerPage": int(size)},
        }
        if first + len(shown) < len(rows):
            answer["nextPageToken"] = str(first + len(shown))
        return json_reply(200, answer)

    def _item(self, row: Row, playlist: str, parts: list[str]) -> dict[str, Any]:
        item: dict[str, Any] = {"kind": "youtube#playlistItem", "id": "UE" + row["id"]}
        snippet = json.loads(row["snippet"])
        if "snippet" in parts:
            item["snippet"] = {
                "publishedAt": iso_utc(row["created_at"]),
                "channelId": row["account"],
                "title": snippet["title"],
                "description": snippet["description"],
                "playlistId": playlist,
                "resourceId": {"kind": "youtube#video", "videoId": row["id"]},
            }
        if "contentDetails" in parts:
            item["contentDetails"] = {"videoId": row["id"]}
        if "status" in parts:
            item["status"] = {"privacyStatus": json.loads(row["status"])["privacyStatus"]}
        return item

    async def batch_stats(self, call: Call) -> Reply:
        """Answer statistics of several videos from a quota bucket of its own."""
        channel = authorized(self._world, call, READ_SCOPES)
        if isinstance(channel, Reply):
            return channel
        if refused := self._quota.stats(call.now_ms):
            return refused
        parts = parts_of(call, frozenset({"id", "snippet", "statistics"}))
        if isinstance(parts, Reply):
            return parts
        ids = [video for video in call.query.get("id", "").split(",") if video]
        if not ids or len(ids) > _PAGE_MAX:
            return google_error("badRequest", "The id parameter takes 1 to 50 ids.")
        items = []
        for row in self._videos.visible(channel, ids, call.as_of_ms):
            item: dict[str, Any] = {"kind": "youtube#videoStats", "id": row["id"]}
            if "statistics" in parts:
                item["statistics"] = self._videos.statistics(row, call.as_of_ms)
            items.append(item)
        return json_reply(200, {"kind": "youtube#videoBatchGetStatsResponse", "items": items})

    async def reports(self, call: Call) -> Reply:
        """Answer an Analytics report by day or in total; `rows` is absent when there is none."""
        channel = authorized(self._world, call, (ANALYTICS_SCOPE,))
        if not isinstance(channel, Reply):
            channel = authorized(self._world, call, READ_SCOPES)
        if isinstance(channel, Reply):
            return channel
        query = call.query
        metrics = [name for name in query.get("metrics", "").split(",") if name]
        by_day = query.get("dimensions", "") == "day"
        span = _days(query.get("startDate", ""), query.get("endDate", ""))
        video = query.get("filters", "").partition("video==")[2]
        if (
            query.get("ids") not in {"channel==MINE", f"channel=={channel}"}
            or not metrics
            or any(name not in _METRICS for name in metrics)
            or query.get("dimensions", "day") != "day"
            or (query.get("filters") and not video)
            or span is None
        ):
            return google_error("badRequest", "The query is not supported.")
        daily = self._daily(channel, set(video.split(",")) if video else None, span, call.as_of_ms)
        rows: list[list[Any]] = [[day, *(n[m] for m in metrics)] for day, n in daily]
        if not by_day and rows:
            rows = [[sum(row[i + 1] for row in rows) for i in range(len(metrics))]]
        columns = [{"name": "day", "columnType": "DIMENSION", "dataType": "STRING"}] * by_day
        columns += [{"name": m, "columnType": "METRIC", "dataType": "INTEGER"} for m in metrics]
        answer: dict[str, Any] = {
            "kind": "youtubeAnalytics#resultTable",
            "columnHeaders": columns,
        }
        if rows:
            answer["rows"] = rows
        return json_reply(200, answer)

    def _daily(
        self, channel: str, only: set[str] | None, span: tuple[date, date], now_ms: int
    ) -> list[tuple[str, dict[str, int]]]:
        lag = self._world.limits.number("youtube", "analyticsLagDays")
        today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(_PACIFIC).date()
        last = min(span[1], today - timedelta(lag))
        videos = [
            row
            for row in self._uploads(channel, now_ms)
            if row["first_public_at"] is not None and (only is None or row["id"] in only)
        ]
        days: list[tuple[str, dict[str, int]]] = []
        day = span[0]
        while day <= last:
            # Reports count Pacific days.
            start, until = _midnight_ms(day), min(_midnight_ms(day + timedelta(1)), now_ms)
            gained = dict.fromkeys(METRICS, 0)
            seen = False
            for row in videos:
                begun = row["first_public_at"]
                if begun >= until:
                    continue
                seen = True
                after, before = counters(row["id"], begun, until), counters(row["id"], begun, start)
                for name in METRICS:
                    gained[name] += after[name] - before[name]
            if seen:
                days.append((day.isoformat(), _report(gained)))
            day += timedelta(1)
        return days


def _midnight_ms(day: date) -> int:
    return int(datetime.combine(day, time(), _PACIFIC).timestamp()) * 1000


def _report(gained: dict[str, int]) -> dict[str, int]:
    """Return a day's metrics from what the counters gained."""
    views = gained["views"]
    return {
        "views": views,
        "engagedViews": views * 7 // 10,
        "estimatedMinutesWatched": gained["watch_ms"] // 60_000,
        "averageViewDuration": gained["watch_ms"] // 1_000 // views if views else 0,
        "averageViewPercentage": 60,
        "likes": gained["likes"],
        "comments": gained["comments"],
        "shares": gained["shares"],
        "subscribersGained": views // 500,
    }


def _days(start: str, end: str) -> tuple[date, date] | None:
    try:
        span = date.fromisoformat(start), date.fromisoformat(end)
    except ValueError:
        return None
    return span if span[0] <= span[1] else None

"""Videos: add, list, update, delete, thumbnails; publishAt makes a video public by itself.

Rules: "Videos: list", "Videos: update", "Videos: delete", "Thumbnails: set" of the Data API.
"""

import hashlib
import json
import secrets
from typing import Any, Final

from minitik_dagster.local.sandbox.http import Call, Reply, json_reply
from minitik_dagster.local.sandbox.limits import iso_utc
from minitik_dagster.local.sandbox.posts import NewPost
from minitik_dagster.local.sandbox.store import Row
from minitik_dagster.local.sandbox.world import World
from minitik_dagster.local.sandbox.youtube.envelope import google_error
from minitik_dagster.local.sandbox.youtube.metadata import NewStatus, read_snippet, read_status
from minitik_dagster.local.sandbox.youtube.oauth import (
    READ_SCOPES,
    UPLOAD_SCOPES,
    WRITE_SCOPES,
    authorized,
)
from minitik_dagster.local.sandbox.youtube.quota import Quota

PARTS: Final = frozenset(
    {"id", "snippet", "status", "statistics", "processingDetails", "contentDetails"}
)
_IDS_MAX: Final = 50
_NOT_FOUND: Final = "The video that you are trying to use cannot be found."


def parts_of(call: Call, known: frozenset[str] = PARTS) -> list[str] | Reply:
    """Return the named parts, or why they are refused."""
    names = [name for name in call.query.get("part", "").split(",") if name]
    if not names:
        return google_error("required", "Required parameter: part")
    if unknown := [name for name in names if name not in known]:
        return google_error("badRequest", f"Unknown part '{unknown[0]}'.")
    return names


class YouTubeVideos:
    """`/youtube/v3/videos` and what belongs to one video."""

    def __init__(self, world: World, quota: Quota) -> None:
        self._world = world
        self._quota = quota

    def find(self, video: str) -> Row | None:
        """Return a video that was not deleted."""
        return self._world.store.one(
            "SELECT * FROM youtube_videos WHERE id = ? AND deleted_at IS NULL", video
        )

    def add(
        self, session: Row, size: int, sha256: str, slow_ms: int | None, fail_code: str | None
    ) -> str:
        """Make the video of a finished session."""
        video, now = secrets.token_urlsafe(8), self._world.clock.now_ms()
        wanted, snippet = json.loads(session["status"]), json.loads(session["snippet"])
        fields, publish_at = wanted["fields"], wanted["publishAt"]
        public = fields["privacyStatus"] == "public"
        failure = fail_code or session["fail_code"]
        self._world.store.run(
            "INSERT INTO youtube_videos (id, account, snippet, status, earlier_status, "
            "status_changed_at, publish_at, bytes, sha256, created_at, processing_ms, fail_code, "
            "first_public_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            video, session["account"], session["snippet"], json.dumps(fields), json.dumps(fields),
            now, publish_at, size, sha256, now,
            session["processing_ms"] if slow_ms is None else slow_ms,
            failure, now if public else None,
        )  # fmt: skip
        self._world.posts.add(
            NewPost(
                platform="youtube",
                id=video,
                handle=video,
                account=session["account"],
                caption=snippet["title"],
                bytes=size,
                sha256=sha256,
                published_at=now if public else None,
                available_at=now,
                privacy=fields["privacyStatus"],
                public=public and not failure,
            )
        )
        self._world.posts.keep_options(
            "youtube", video, self._world.posts.options("youtube", session["id"])
        )
        self.release_due()
        return video

    def release_due(self) -> None:
        """Make public what has reached its publishAt, as of that instant."""
        now = self._world.clock.now_ms()
        for row in self._world.store.all(
            "SELECT * FROM youtube_videos WHERE publish_at <= ? AND deleted_at IS NULL", now
        ):
            fields = {**json.loads(row["status"]), "privacyStatus": "public"}
            at = max(row["publish_at"], row["created_at"])
            with self._world.store.transaction():
                self._change_status(row, NewStatus(fields, None), at)

    def _change_status(self, row: Row, status: NewStatus, at_ms: int) -> None:
        self._world.posts.keep_options("youtube", row["id"], status.fields)
        public = status.fields["privacyStatus"] == "public"
        self._world.store.run(
            "UPDATE youtube_videos SET status = ?, earlier_status = status, "
            "status_changed_at = ?, publish_at = ?, "
            "first_public_at = COALESCE(first_public_at, ?) WHERE id = ?",
            json.dumps(status.fields),
            at_ms,
            status.publish_at_ms,
            at_ms if public else None,
            row["id"],
        )
        self._world.posts.set_privacy(
            row["id"],
            status.fields["privacyStatus"],
            at_ms if public else None,
            watchable=not row["fail_code"],
        )

    def resource(self, video: str, parts: list[str], as_of_ms: int) -> dict[str, Any] | None:
        """Return a video resource as it was at an instant; None if it is gone."""
        row = self.find(video)
        return None if row is None else self._resource(row, parts, as_of_ms)

    def _resource(self, row: Row, parts: list[str], as_of_ms: int) -> dict[str, Any]:
        resource: dict[str, Any] = {"kind": "youtube#video", "id": row["id"]}
        if "snippet" in parts:
            shown_at = row["first_public_at"] or row["created_at"]
            resource["snippet"] = {
                "publishedAt": iso_utc(shown_at),
                "channelId": row["account"],
                **json.loads(row["snippet"]),
            }
        if "status" in parts:
            resource["status"] = self._status(row, as_of_ms)
        if "statistics" in parts:
            resource["statistics"] = self.statistics(row, as_of_ms)
        if "processingDetails" in parts:
            resource["processingDetails"] = {"processingStatus": self._processing(row, as_of_ms)}
        if "contentDetails" in parts:
            resource["contentDetails"] = {"definition": "hd", "caption": "false"}
        return resource

    def _processing(self, row: Row, as_of_ms: int) -> str:
        if as_of_ms < row["created_at"] + row["processing_ms"]:
            return "processing"
        return "failed" if row["fail_code"] else "succeeded"

    def _status(self, row: Row, as_of_ms: int) -> dict[str, Any]:
        stale = as_of_ms < row["status_changed_at"]
        status = json.loads(row["earlier_status" if stale else "status"])
        if row["publish_at"] is not None and not stale:
            status["publishAt"] = iso_utc(row["publish_at"])
        state = self._processing(row, as_of_ms)
        status["uploadStatus"] = {
            "processing": "uploaded",
            "succeeded": "processed",
            "failed": "failed",
        }[state]
        if state == "failed":
            reason = row["fail_code"]
            failed = reason in _FAILURES
            status["uploadStatus"] = "failed" if failed else "rejected"
            status["failureReason" if failed else "rejectionReason"] = reason
        return dict(status)

    def statistics(self, row: Row, as_of_ms: int) -> dict[str, str]:
        """Return a video's counters; Google writes unsigned longs as text."""
        begun = row["first_public_at"]
        numbers = self._world.numbers.at(
            "youtube", row["id"], as_of_ms if begun is None else begun, as_of_ms
        )
        told = {"viewCount": "views", "likeCount": "likes", "commentCount": "comments"}
        return {
            "favoriteCount": "0",
            **{field: str(numbers[name]) for field, name in told.items() if name in numbers},
        }

    def visible(self, channel: str, ids: list[str], as_of_ms: int) -> list[Row]:
        """Return those of `ids` this channel may see: its own, and what is not private."""
        self.release_due()
        rows = [self.find(video) for video in dict.fromkeys(ids)]
        return [
            row
            for row in rows
            if row is not None
            and row["created_at"] <= as_of_ms
            and (
                row["account"] == channel or json.loads(row["status"])["privacyStatus"] != "private"
            )
        ]

    async def listed(self, call: Call) -> Reply:
        """Answer `videos.list` by ids; what is not there is left out."""
        channel = authorized(self._world, call, READ_SCOPES)
        if isinstance(channel, Reply):
            return channel
        if refused := self._quota.units("list", call.now_ms):
            return refused
        parts = parts_of(call)
        if isinstance(parts, Reply):
            return parts
        ids = [video for video in call.query.get("id", "").split(",") if video]
        if not ids or len(ids) > _IDS_MAX:
            return google_error("badRequest", "The id parameter takes 1 to 50 ids.")
        rows = self.visible(channel, ids, call.as_of_ms)
        if "processingDetails" in parts and any(row["account"] != channel for row in rows):
            return google_error("forbidden", "processingDetails are for the video's owner.")
        items = [self._resource(row, parts, call.as_of_ms) for row in rows]
        return json_reply(
            200,
            {
                "kind": "youtube#videoListResponse",
                "items": items,
                "pageInfo": {"totalResults": len(items), "resultsPerPage": len(items)},
            },
        )

    async def update(self, call: Call) -> Reply:
        """Overwrite the named parts whole: what they omit is cleared."""
        channel = authorized(self._world, call, WRITE_SCOPES)
        if isinstance(channel, Reply):
            return channel
        if refused := self._quota.units("update", call.now_ms):
            return refused
        parts = parts_of(call, frozenset({"id", "snippet", "status"}))
        if isinstance(parts, Reply):
            return parts
        body = await call.json()
        if body is None or not isinstance(body.get("id"), str):
            return google_error("invalidVideoMetadata", "The body must name the video's id.")
        self.release_due()
        row = self._owned(body["id"], channel)
        if isinstance(row, Reply):
            return row
        was_public = row["first_public_at"] is not None
        snippet = read_snippet(body.get("snippet"), update=True) if "snippet" in parts else None
        if isinstance(snippet, Reply):
            return snippet
        status = (
            read_status(body.get("status"), was_public=was_public) if "status" in parts else None
        )
        if isinstance(status, Reply):
            return status
        with self._world.store.transaction():
            if snippet is not None:
                self._world.store.run(
                    "UPDATE youtube_videos SET snippet = ? WHERE id = ?",
                    json.dumps(snippet),
                    row["id"],
                )
                self._world.posts.describe("youtube", row["id"], snippet["title"])
            if status is not None:
                self._change_status(row, status, self._world.clock.now_ms())
        self.release_due()
        return json_reply(200, self.resource(row["id"], parts, self._world.clock.now_ms()))

    def _owned(self, video: str, channel: str) -> Row | Reply:
        row = self.find(video)
        if row is None:
            return google_error("videoNotFound", _NOT_FOUND)
        if row["account"] != channel:
            return google_error("forbidden", "The request is not properly authorized.")
        return row

    async def delete(self, call: Call) -> Reply:
        """Delete a video: 204."""
        channel = authorized(self._world, call, WRITE_SCOPES)
        if isinstance(channel, Reply):
            return channel
        if refused := self._quota.units("delete", call.now_ms):
            return refused
        row = self._owned(call.query.get("id", ""), channel)
        if isinstance(row, Reply):
            return row
        with self._world.store.transaction():
            self._world.store.run(
                "UPDATE youtube_videos SET deleted_at = ? WHERE id = ?", call.now_ms, row["id"]
            )
            self._world.posts.remove("youtube", row["id"], call.now_ms)
        return Reply(204)

    async def thumbnail(self, call: Call) -> Reply:
        """Set a JPEG or PNG thumbnail of at most 50 MB."""
        channel = authorized(self._world, call, UPLOAD_SCOPES)
        if isinstance(channel, Reply):
            return channel
        if refused := self._quota.units("thumbnail", call.now_ms):
            return refused
        row = self._owned(call.query.get("videoId", ""), channel)
        if isinstance(row, Reply):
            return row
        kind = call.headers.get("content-type", "application/octet-stream")
        if kind not in {"image/jpeg", "image/png", "application/octet-stream"}:
            return google_error("badRequest", f"Media type '{kind}' is not supported.")
        limit, size, head = self._world.limits.number("youtube", "maxThumbnailBytes"), 0, b""
        digest = hashlib.sha256()
        async for piece in call.stream():
            size += len(piece)
            digest.update(piece)
            head = head or piece[:8]
        if size == 0:
            return google_error("mediaBodyRequired", "The request does not include the image.")
        if size > limit or not head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
            return google_error("invalidImage", "The provided image content is invalid.")
        self._world.store.run(
            "UPDATE youtube_videos SET thumbnail_bytes = ? WHERE id = ?", size, row["id"]
        )
        self._world.posts.keep_options(
            "youtube",
            row["id"],
            {"thumbnail": {"bytes": size, "sha256": digest.hexdigest(), "contentType": kind}},
        )
        url = f"https://i.ytimg.com/vi/{row['id']}/default.jpg"
        return json_reply(
            200,
            {
                "kind": "youtube#thumbnailSetResponse",
                "items": [{"default": {"url": url, "width": 120, "height": 90}}],
            },
        )


_FAILURES: Final = frozenset(
    {"codec", "conversion", "emptyFile", "invalidFile", "tooSmall", "uploadAborted"}
)

"""Resumable uploads: a session URI, then bytes in one piece or in chunks of 262,144.

Rule: "Resumable Uploads - YouTube Data API": 308 + Range while incomplete, 201 with the resource at
the end and again whenever asked, 404 for an expired session.
"""

import json
import re
import secrets
from typing import Any, Final

from minitik_dagster.local.sandbox.hashing import GRANULARITY_BYTES, Hashes
from minitik_dagster.local.sandbox.http import Call, DisconnectedError, Reply, json_reply
from minitik_dagster.local.sandbox.store import Row
from minitik_dagster.local.sandbox.world import World
from minitik_dagster.local.sandbox.youtube.envelope import google_error
from minitik_dagster.local.sandbox.youtube.metadata import NewStatus, read_snippet, read_status
from minitik_dagster.local.sandbox.youtube.oauth import UPLOAD_SCOPES, authorized
from minitik_dagster.local.sandbox.youtube.quota import Quota
from minitik_dagster.local.sandbox.youtube.videos import YouTubeVideos

_RANGE: Final = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")
_QUERY: Final = re.compile(r"bytes \*/(\d{1,15}|\*)")


def is_query(call: Call) -> bool:
    """Tell whether a PUT only asks how far its session is."""
    return _QUERY.fullmatch(call.headers.get("content-range", "")) is not None


def _incomplete(received: int) -> Reply:
    headers = (("Range", f"bytes=0-{received - 1}"),) if received else ()
    return Reply(308, headers=headers)


class YouTubeUpload:
    """`/upload/youtube/v3/videos`."""

    def __init__(self, world: World, videos: YouTubeVideos, quota: Quota) -> None:
        self._world = world
        self._videos = videos
        self._quota = quota
        self._hashes = Hashes()

    def find(self, call: Call) -> Row | None:
        """Return the session a URI belongs to."""
        return self._world.store.one(
            "SELECT * FROM youtube_sessions WHERE id = ?", call.query.get("upload_id", "")
        )

    def give_up_unfinished(self) -> None:
        """Expire sessions whose first bytes came before a restart: their hash is gone."""
        self._world.store.run(
            "UPDATE youtube_sessions SET expires_at = 0 WHERE video_id IS NULL AND received > 0"
        )

    async def start(self, call: Call) -> Reply:
        """Open a session; costs one of the day's uploads."""
        channel = authorized(self._world, call, UPLOAD_SCOPES)
        if isinstance(channel, Reply):
            return channel
        if refused := self._quota.upload(call.now_ms):
            return refused
        if call.query.get("uploadType") != "resumable":
            return google_error("mediaBodyRequired", "The request does not include a video.")
        parts = {part for part in call.query.get("part", "").split(",") if part}
        if not parts:
            return google_error("required", "Required parameter: part")
        if not parts <= {"snippet", "status", "id"}:
            return google_error("badRequest", "The part parameter names an unknown part.")
        kind = call.headers.get("x-upload-content-type", "")
        if kind and not (kind.startswith("video/") or kind == "application/octet-stream"):
            return google_error("badRequest", f"Media type '{kind}' is not supported.")
        length = call.whole_number_header("x-upload-content-length")
        if "x-upload-content-length" in call.headers and not length:
            return google_error("badRequest", "X-Upload-Content-Length must be positive.")
        if (length or 0) > self._world.limits.number("youtube", "maxVideoBytes"):
            return google_error("badRequest", "The media is larger than 256 GB.")
        body = await call.json()
        if body is None:
            return google_error("badRequest", "The request body is not a JSON object.")
        snippet = read_snippet(body.get("snippet"), update=False) if "snippet" in parts else (
            {"title": "unknown", "description": "", "categoryId": "22"}
        )  # fmt: skip
        if isinstance(snippet, Reply):
            return snippet
        status = read_status(body.get("status", {}) if "status" in parts else {}, was_public=False)
        if isinstance(status, Reply):
            return status
        if refused := self._channel_limit(channel, call.now_ms):
            return refused
        return self._open(call, channel, parts, (kind, length), (snippet, status))

    def _channel_limit(self, channel: str, now_ms: int) -> Reply | None:
        allowed = self._world.limits.get("youtube", "uploadsPerChannelPerDay")
        if allowed is None:
            return None
        made = self._world.store.number(
            "SELECT count(*) FROM youtube_videos WHERE account = ? AND created_at > ?",
            channel,
            now_ms - 86_400_000,
        )
        if made < allowed:
            return None
        return google_error(
            "uploadLimitExceeded", "The user has exceeded the number of videos they may upload."
        )

    def _open(
        self,
        call: Call,
        channel: str,
        parts: set[str],
        media: tuple[str, int | None],
        metadata: tuple[dict[str, Any], NewStatus],
    ) -> Reply:
        session = "A" + secrets.token_urlsafe(60)
        limits = self._world.limits
        snippet, status = metadata
        self._world.store.run(
            "INSERT INTO youtube_sessions (id, account, snippet, status, parts, length, "
            "content_type, created_at, expires_at, processing_ms, fail_code) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            session, channel, json.dumps(snippet),
            json.dumps({"fields": status.fields, "publishAt": status.publish_at_ms}),
            ",".join(sorted(parts)), media[1], media[0], call.now_ms,
            call.now_ms + 1000 * limits.number("youtube", "sessionTtlSeconds"),
            limits.number("youtube", "processingMs") if call.slow_ms is None else call.slow_ms,
            call.fail_code,
        )  # fmt: skip
        self._world.posts.keep_options(
            "youtube",
            session,
            {
                **snippet,
                **status.fields,
                "notifySubscribers": call.query.get("notifySubscribers", "true") != "false",
            },
        )
        location = (
            f"{call.origin}{call.prefix}{call.path}?uploadType=resumable"
            f"&part={call.query['part']}&upload_id={session}"
        )
        return Reply(200, headers=(("Location", location), ("X-GUploader-UploadID", session)))

    def _live(self, call: Call) -> Row | Reply:
        row = self.find(call)
        if row is None or (row["video_id"] is None and call.now_ms >= row["expires_at"]):
            return google_error("notFound", "The upload session does not exist or has expired.")
        return row

    async def query(self, call: Call) -> Reply:
        """Answer how far a session is; a finished one repeats its final answer."""
        row = self._live(call)
        if isinstance(row, Reply):
            return row
        if row["video_id"] is not None:
            return self._final(row, call)
        asked = call.headers["content-range"].rpartition("/")[2]
        if asked != "*" and row["length"] is not None and int(asked) != row["length"]:
            return google_error("badRequest", "The total size differs from the announced one.")
        return _incomplete(row["received"])

    def _final(self, row: Row, call: Call) -> Reply:
        video = self._videos.resource(row["video_id"], row["parts"].split(","), call.as_of_ms)
        if video is None:
            return google_error("notFound", "The video of this session was deleted.")
        return json_reply(self._world.limits.number("youtube", "finalStatus"), video)

    async def put(self, call: Call) -> Reply:
        """Take bytes; a block that does not follow on what is stored leaves nothing behind."""
        row = self._live(call)
        if isinstance(row, Reply):
            return row
        if row["video_id"] is not None:
            return self._final(row, call)
        length = call.whole_number_header("content-length")
        if length is None:
            return google_error("badRequest", "A Content-Length header is needed.", 411)
        sent, announced = call.headers.get("content-type"), row["content_type"]
        if sent and announced and sent != announced:
            return google_error("badRequest", "The Content-Type differs from the announced one.")
        span = self._span(call, row, length)
        if isinstance(span, Reply):
            return span
        first, total = span
        if first != row["received"]:
            return _incomplete(row["received"])
        return await self._receive(call, row, first + length, total)

    def _span(self, call: Call, row: Row, length: int) -> tuple[int, int] | Reply:
        """Return where the bytes begin and how many there are in all, or the refusal."""
        header = call.headers.get("content-range")
        if header is None:
            first, total, end = 0, length, length
        else:
            found = _RANGE.fullmatch(header)
            if found is None:
                return google_error("badRequest", "Failed to parse Content-Range header.")
            first, end, total = int(found[1]), int(found[2]) + 1, int(found[3])
            if end > total or end - first != length:
                return google_error("badRequest", "Content-Range does not fit Content-Length.")
            if end < total and length % GRANULARITY_BYTES:
                return google_error(
                    "badRequest", f"A chunk must be a multiple of {GRANULARITY_BYTES} bytes."
                )
        if total < 1 or (row["length"] is not None and total != row["length"]):
            return google_error("badRequest", "The total size differs from the announced one.")
        return first, total

    async def _receive(self, call: Call, row: Row, end: int, total: int) -> Reply:
        digest = self._hashes.resume(row["id"], row["received"])
        if digest is None:
            return google_error("notFound", "The upload session does not exist or has expired.")
        received, kept, pending = row["received"], row["received"], bytearray()
        try:
            async for piece in call.stream():
                pending += piece
                whole = len(pending) - len(pending) % GRANULARITY_BYTES
                if whole:
                    digest.update(memoryview(pending)[:whole])
                    del pending[:whole]
                    kept += whole
                received += len(piece)
        except DisconnectedError:
            self._advance(row, kept, digest)
            raise
        digest.update(pending)
        if received != end:
            return google_error("badRequest", "The body does not fit Content-Length.")
        fresh = self._live(call)
        if isinstance(fresh, Reply):
            return fresh
        if fresh["video_id"] is not None:
            return self._final(fresh, call)
        if fresh["received"] != row["received"]:
            return _incomplete(fresh["received"])
        if end < total:
            self._advance(row, end, digest)
            return _incomplete(end)
        self._hashes.forget(row["id"])
        with self._world.store.transaction():
            video = self._videos.add(fresh, total, digest.hexdigest(), call.slow_ms, call.fail_code)
            self._world.store.run(
                "UPDATE youtube_sessions SET received = ?, video_id = ? WHERE id = ?",
                total,
                video,
                row["id"],
            )
        done = self.find(call)
        return self._final(done if done is not None else fresh, call)

    def _advance(self, row: Row, received: int, digest: Any) -> None:
        """Keep what came, unless another connection has brought the session further."""
        changed = self._world.store.run(
            "UPDATE youtube_sessions SET received = ? WHERE id = ? AND received = ? "
            "AND video_id IS NULL",
            received,
            row["id"],
            row["received"],
        )
        if changed:
            self._hashes.keep(row["id"], digest)

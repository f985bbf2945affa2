"""The upload host: sequential PUTs that follow the announced chunk plan; the last one publishes.

Rule: "Media Transfer Guide - Content Posting API": 206 more to come, 201 all there, 400 malformed or
wrong length, 403 expired, 404 no such task, 416 not at the actual progress.
"""

import re
from typing import Final

from minitik_dagster.local.sandbox.hashing import Hashes
from minitik_dagster.local.sandbox.http import Call, Reply
from minitik_dagster.local.sandbox.store import Row
from minitik_dagster.local.sandbox.tiktok.plan import ChunkPlan
from minitik_dagster.local.sandbox.tiktok.publishing import complete
from minitik_dagster.local.sandbox.world import World

_RANGE: Final = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")
_TYPES: Final = frozenset({"video/mp4", "video/quicktime", "video/webm"})


def _range_of(call: Call) -> tuple[int, int, int] | None:
    found = _RANGE.fullmatch(call.headers.get("content-range", ""))
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def is_last_chunk(call: Call) -> bool:
    """Tell whether a PUT claims to carry the file's last byte."""
    span = _range_of(call)
    return span is not None and span[1] + 1 == span[2]


class TikTokUpload:
    """`upload_url`: needs no Authorization header, the key is in the URL."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._hashes = Hashes()

    def find(self, call: Call) -> Row | None:
        """Return the post an upload URL belongs to."""
        return self._world.store.one(
            "SELECT * FROM tiktok_posts WHERE upload_token = ?", call.query.get("upload_token", "")
        )

    def give_up_unfinished(self) -> None:
        """Fail uploads whose first bytes came before a restart: their hash is gone."""
        self._world.store.run(
            "UPDATE tiktok_posts SET completed_at = ?, fail_reason = 'internal' "
            "WHERE source = 'FILE_UPLOAD' AND completed_at IS NULL AND uploaded > 0",
            self._world.clock.now_ms(),
        )

    async def put(self, call: Call) -> Reply:
        """Take one chunk; nothing of it counts unless all of it arrives."""
        row = self.find(call)
        if row is None:
            return Reply(404)
        progress = (("Content-Range", f"bytes 0-{row['uploaded']}/{row['size']}"),)
        if row["completed_at"] is None and call.now_ms >= row["expires_at"]:
            return Reply(403, headers=progress)
        span, length = _range_of(call), call.whole_number_header("content-length")
        if span is None or length is None or call.headers.get("content-type") not in _TYPES:
            return Reply(400, headers=progress)
        first, last, total = span
        if last < first or length != last - first + 1 or total != row["size"]:
            return Reply(400, headers=progress)
        if row["completed_at"] is not None or first != row["uploaded"]:
            return Reply(416, headers=progress)
        plan = ChunkPlan(row["size"], row["chunk_size"], row["chunk_count"])
        if plan.expected_end(first) != last + 1:
            return Reply(400, headers=progress)
        return await self._receive(call, row, last + 1)

    async def _receive(self, call: Call, row: Row, end: int) -> Reply:
        digest = self._hashes.resume(row["publish_id"], row["uploaded"])
        if digest is None:
            return Reply(404)
        received = row["uploaded"]
        async for piece in call.stream():
            digest.update(piece)
            received += len(piece)
        if received != end:
            return Reply(400)
        # Another connection may have sent the same chunk meanwhile: the first one to end counts.
        fresh = self.find(call)
        if (
            fresh is None
            or fresh["completed_at"] is not None
            or fresh["uploaded"] != row["uploaded"]
        ):
            at = fresh["uploaded"] if fresh else 0
            return Reply(416, headers=(("Content-Range", f"bytes 0-{at}/{row['size']}"),))
        with self._world.store.transaction():
            self._world.store.run(
                "UPDATE tiktok_posts SET uploaded = ?, "
                "processing_ms = COALESCE(?, processing_ms), "
                "fail_reason = COALESCE(?, fail_reason) WHERE publish_id = ?",
                end, call.slow_ms, call.fail_code, row["publish_id"],
            )  # fmt: skip
            self._world.store.run(
                "INSERT INTO tiktok_progress (publish_id, at, uploaded) VALUES (?, ?, ?)",
                row["publish_id"],
                self._world.clock.now_ms(),
                end,
            )
        stored = (("Content-Range", f"bytes 0-{end}/{row['size']}"),)
        if end < row["size"]:
            self._hashes.keep(row["publish_id"], digest)
            return Reply(206, headers=stored)
        self._hashes.forget(row["publish_id"])
        final = self.find(call)
        if final is not None:
            complete(self._world, final, end, digest.hexdigest())
        return Reply(201, headers=stored)

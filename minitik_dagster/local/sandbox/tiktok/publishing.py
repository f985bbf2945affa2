"""Direct Post: creator_info, video/init, status/fetch, cancel.

Rules: "Query Creator Info", "Direct Post", "Get Post Status" of the Content Posting API reference,
"Content Sharing Guidelines" for unaudited clients.
"""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

from minitik_dagster.local.sandbox.accounts import digits
from minitik_dagster.local.sandbox.events import events_of_post
from minitik_dagster.local.sandbox.fetch import Fetched, fetchable
from minitik_dagster.local.sandbox.http import Call, JsonObject, Reply
from minitik_dagster.local.sandbox.posts import NewPost
from minitik_dagster.local.sandbox.store import Row
from minitik_dagster.local.sandbox.tiktok.envelope import error, ok
from minitik_dagster.local.sandbox.tiktok.plan import ChunkPlan
from minitik_dagster.local.sandbox.world import World

PUBLIC: Final = "PUBLIC_TO_EVERYONE"
_TITLE_MAX_UTF16_UNITS: Final = 2_200
_DAY_MS: Final = 86_400_000
_OPTIONS: Final = {
    False: (PUBLIC, "MUTUAL_FOLLOW_FRIENDS", "SELF_ONLY"),
    True: ("FOLLOWER_OF_CREATOR", "MUTUAL_FOLLOW_FRIENDS", "SELF_ONLY"),
}


def authorized(world: World, call: Call, *scopes: str) -> str | Reply:
    """Return the account of a live token that has one of `scopes`, else the refusal."""
    token = world.accounts.token("tiktok", call.bearer())
    if token is None or token.kind != "access" or not token.live(call.now_ms):
        return error("access_token_invalid", "The access token is invalid or not found.")
    if not token.scopes.intersection(scopes):
        return error("scope_not_authorized", "The user did not authorize the scope required.")
    return token.account


def complete(world: World, row: Row, size: int, sha256: str) -> None:
    """All bytes are there: the handle becomes its one post, unless processing shall fail."""
    now = world.clock.now_ms()
    post_id = None if row["fail_reason"] else "7" + digits(18)
    with world.store.transaction():
        world.store.run(
            "UPDATE tiktok_posts SET uploaded = ?, size = ?, completed_at = ?, post_id = ? "
            "WHERE publish_id = ?",
            size, size, now, post_id, row["publish_id"],
        )  # fmt: skip
        if post_id is None:
            _tell(world, row, now, row["fail_reason"])
            return
        public = row["privacy"] == PUBLIC
        moderated = row["processing_ms"] + world.limits.number("tiktok", "moderationMs")
        world.posts.add(
            NewPost(
                platform="tiktok",
                id=post_id,
                handle=row["publish_id"],
                account=row["account"],
                caption=row["caption"],
                bytes=size,
                sha256=sha256,
                published_at=now,
                available_at=now + moderated,
                privacy=row["privacy"],
                public=public,
            )
        )
    _tell(world, row, now, None, post_id, now + moderated if public else None)


def _tell(
    world: World,
    row: Row,
    completed_at: int,
    fail_reason: str | None,
    post_id: str | None = None,
    public_at: int | None = None,
) -> None:
    """Announce what will become of a post whose bytes are there, or which has failed."""
    webhook = world.events.webhook
    if webhook is None:
        return
    for order, at_ms in events_of_post(
        webhook,
        row,
        ends_at=completed_at + row["processing_ms"],
        fail_reason=fail_reason,
        post_id=post_id,
        public_at=public_at,
    ):
        world.announce(order, at_ms)


class TikTokPublishing:
    """`/v2/post/publish/…` without the byte upload."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _limited(self, call: Call, operation: str, account: str) -> Reply | None:
        if self._world.limits.admit("tiktok", operation, account, call.now_ms):
            return None
        return error("rate_limit_exceeded", "The API rate limit was exceeded.")

    def _too_many_posts(self, call: Call, account: str) -> bool:
        allowed = self._world.limits.get("tiktok", "postsPerDay")
        return allowed is not None and (
            self._world.posts.published_since("tiktok", account, call.now_ms - _DAY_MS) >= allowed
        )

    async def creator_info(self, call: Call) -> Reply:
        """Answer what the creator may do; the spam risks come with HTTP 200 here, on purpose."""
        account = authorized(self._world, call, "video.publish")
        if isinstance(account, Reply):
            return account
        if limited := self._limited(call, "creatorInfo", account):
            return limited
        if self._too_many_posts(call, account):
            return error("spam_risk_too_many_posts", "The daily post cap is reached.", 200)
        row = self._world.accounts.find("tiktok", account)
        private = bool(row and row["private"])
        name = row["username"] if row else account
        return ok(
            {
                "creator_avatar_url": "https://p16-sign.tiktokcdn.com/sandbox.webp",
                "creator_username": name,
                "creator_nickname": name,
                "privacy_level_options": list(_OPTIONS[private]),
                "comment_disabled": bool(self._world.limits.get("tiktok", "commentDisabled")),
                "duet_disabled": private or bool(self._world.limits.get("tiktok", "duetDisabled")),
                "stitch_disabled": private
                or bool(self._world.limits.get("tiktok", "stitchDisabled")),
                "max_video_post_duration_sec": self._world.limits.number(
                    "tiktok", "maxDurationSeconds"
                ),
            }
        )

    async def init(self, call: Call) -> Reply:
        """Open a post: a publish_id, and an upload_url that lives one hour."""
        account = authorized(self._world, call, "video.publish")
        if isinstance(account, Reply):
            return account
        if limited := self._limited(call, "init", account):
            return limited
        body = await call.json()
        post_info, source_info = (body or {}).get("post_info"), (body or {}).get("source_info")
        if not isinstance(post_info, dict) or not isinstance(source_info, dict):
            return error("invalid_param", "post_info and source_info must be objects.")
        if refused := self._refuse_post_info(call, account, post_info):
            return refused
        source = source_info.get("source")
        if source == "FILE_UPLOAD":
            return self._init_file(call, account, post_info, source_info)
        if source == "PULL_FROM_URL":
            return self._init_pull(call, account, post_info, source_info)
        return error("invalid_param", "The source must be FILE_UPLOAD or PULL_FROM_URL.")

    def _refuse_post_info(self, call: Call, account: str, info: JsonObject) -> Reply | None:
        title = info.get("title", "")
        if not isinstance(title, str) or len(title.encode("utf-16-le")) // 2 > (
            _TITLE_MAX_UTF16_UNITS
        ):
            return error("invalid_param", "The title must be text of at most 2200 UTF-16 units.")
        for name in ("disable_duet", "disable_stitch", "disable_comment", "brand_content_toggle",
                     "brand_organic_toggle", "is_aigc"):  # fmt: skip
            if not isinstance(info.get(name, False), bool):
                return error("invalid_param", f"{name} must be a boolean.")
        cover = info.get("video_cover_timestamp_ms", 0)
        if isinstance(cover, bool) or not isinstance(cover, int) or not 0 <= cover < 2**31:
            return error("invalid_param", "video_cover_timestamp_ms must be an int32.")
        level = info.get("privacy_level")
        if level not in {*_OPTIONS[False], *_OPTIONS[True]}:
            return error("invalid_param", "The privacy_level is missing or unknown.")
        row = self._world.accounts.find("tiktok", account)
        private = bool(row and row["private"])
        if self._world.limits.get("tiktok", "unaudited") and not (private and level == "SELF_ONLY"):
            return error(
                "unaudited_client_can_only_post_to_private_accounts",
                "Please review our integration guidelines.",
            )
        if level not in _OPTIONS[private]:
            return error("privacy_level_option_mismatch", "The privacy_level is not an option.")
        if self._too_many_posts(call, account):
            return error("spam_risk_too_many_posts", "The daily post cap is reached.")
        return None

    def _init_file(self, call: Call, account: str, info: JsonObject, source: JsonObject) -> Reply:
        numbers = [source.get(k) for k in ("video_size", "chunk_size", "total_chunk_count")]
        if any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
            return error(
                "invalid_param", "video_size, chunk_size and total_chunk_count must be int64."
            )
        size, chunk, count = (int(n or 0) for n in numbers)
        if size > self._world.limits.number("tiktok", "maxVideoBytes"):
            return error("invalid_param", "The video is larger than 4 GB.")
        if problem := ChunkPlan(size, chunk, count).problem():
            return error("invalid_param", problem)
        upload_token = secrets.token_urlsafe(32)
        publish_id = self._open(
            call, account, info, "FILE_UPLOAD", None, (size, chunk, count), upload_token
        )
        return ok(
            {
                "publish_id": publish_id,
                "upload_url": f"{call.origin}/tiktok-upload/video/?upload_id={digits(19)}"
                f"&upload_token={upload_token}",
            }
        )

    def _init_pull(self, call: Call, account: str, info: JsonObject, source: JsonObject) -> Reply:
        url = source.get("video_url")
        if not isinstance(url, str) or not fetchable(url):
            return error("invalid_param", "The video_url must be an https URL.")
        verified = self._world.limits.get("tiktok", "verifiedDomains")
        parts = urlsplit(url)
        if not any(d in (parts.hostname, parts.netloc) or url.startswith(d) for d in verified):
            return error("url_ownership_unverified", "Please verify the URL's domain or prefix.")
        publish_id = self._open(call, account, info, "PULL_FROM_URL", url, (0, 0, 0), None)
        self._world.spawn(self._pull(publish_id))
        return ok({"publish_id": publish_id})

    def _open(
        self,
        call: Call,
        account: str,
        info: JsonObject,
        source: str,
        url: str | None,
        plan: tuple[int, int, int],
        upload_token: str | None,
    ) -> str:
        kind = "v_pub_url~v2." if url else "v_pub_file~v2-1."
        publish_id = kind + digits(19)
        limits = self._world.limits
        self._world.store.run(
            "INSERT INTO tiktok_posts (publish_id, account, upload_token, caption, privacy, "
            "source, video_url, size, chunk_size, chunk_count, created_at, expires_at, "
            "processing_ms, fail_reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            publish_id, account, upload_token, info.get("title", ""), info["privacy_level"],
            source, url, *plan, call.now_ms,
            call.now_ms + 1000 * limits.number("tiktok", "uploadUrlTtlSeconds"),
            limits.number("tiktok", "processingMs") if call.slow_ms is None else call.slow_ms,
            call.fail_code,
        )  # fmt: skip
        self._world.posts.keep_options("tiktok", publish_id, info)
        return publish_id

    async def _pull(self, publish_id: str) -> None:
        row = self._world.store.one("SELECT * FROM tiktok_posts WHERE publish_id = ?", publish_id)
        if row is None:
            return
        limits = self._world.limits
        got = await self._world.fetcher.fetch(
            row["video_url"],
            limits.number("tiktok", "maxVideoBytes"),
            limits.number("tiktok", "fetchTimeoutMs"),
        )
        row = self._world.store.one("SELECT * FROM tiktok_posts WHERE publish_id = ?", publish_id)
        if row is None or row["cancelled_at"] is not None:
            return
        if isinstance(got, Fetched):
            complete(self._world, row, got.bytes, got.sha256)
        else:
            self._fail(row, "video_pull_failed")

    def _fail(self, row: Row, reason: str) -> None:
        now = self._world.clock.now_ms()
        self._world.store.run(
            "UPDATE tiktok_posts SET completed_at = ?, fail_reason = ? WHERE publish_id = ?",
            now,
            reason,
            row["publish_id"],
        )
        _tell(self._world, row, now, reason)

    def resume_pulls(self) -> None:
        """Fail the downloads that a restart has cut off: their publish_id is retryable."""
        for row in self._world.store.all(
            "SELECT * FROM tiktok_posts WHERE source = 'PULL_FROM_URL' "
            "AND completed_at IS NULL AND cancelled_at IS NULL"
        ):
            self._fail(row, "video_pull_failed")

    async def _named_post(
        self, call: Call, then: Callable[[Call, Row], Awaitable[Reply]], operation: str
    ) -> Reply:
        account = authorized(self._world, call, "video.publish", "video.upload")
        if isinstance(account, Reply):
            return account
        if limited := self._limited(call, operation, account):
            return limited
        publish_id = (await call.json() or {}).get("publish_id")
        row = self._world.store.one("SELECT * FROM tiktok_posts WHERE publish_id = ?", publish_id) \
            if isinstance(publish_id, str) else None  # fmt: skip
        if row is None:
            return error("invalid_publish_id", "The publish_id does not exist.")
        if row["account"] != account:
            return error(
                "token_not_authorized_for_specified_publish_id",
                "The access token is not authorized for this publish_id.",
            )
        return await then(call, row)

    async def status(self, call: Call) -> Reply:
        """Tell how far a post is; the public id list comes only after moderation."""
        return await self._named_post(call, self._status, "status")

    async def _status(self, call: Call, row: Row) -> Reply:
        as_of = call.as_of_ms
        complete_then = row["completed_at"] is not None and row["completed_at"] <= as_of
        uploaded = self._world.store.number(
            "SELECT max(uploaded) FROM tiktok_progress WHERE publish_id = ? AND at <= ?",
            row["publish_id"],
            as_of,
        )
        pulled = row["source"] == "PULL_FROM_URL"
        data: dict[str, Any] = {"status": "PROCESSING_DOWNLOAD" if pulled else "PROCESSING_UPLOAD"}
        if complete_then:
            uploaded = row["uploaded"]
        data["downloaded_bytes" if pulled else "uploaded_bytes"] = uploaded
        if row["cancelled_at"] is not None:
            return ok({**data, "status": "FAILED", "fail_reason": "publish_cancelled"})
        if not complete_then or as_of < row["completed_at"] + row["processing_ms"]:
            return ok(data)
        if row["fail_reason"]:
            return ok({**data, "status": "FAILED", "fail_reason": row["fail_reason"]})
        data["status"] = "PUBLISH_COMPLETE"
        post = self._world.posts.find("tiktok", row["post_id"])
        if post and post["public"] and post["available_at"] <= as_of:
            data["publicaly_available_post_id"] = [int(row["post_id"])]
        return ok(data)

    async def cancel(self, call: Call) -> Reply:
        """Cancel a pull that has not finished."""
        return await self._named_post(call, self._cancel, "status")

    async def _cancel(self, call: Call, row: Row) -> Reply:
        if row["source"] != "PULL_FROM_URL" or row["completed_at"] is not None:
            return error("publish_not_cancellable", "The post can no longer be cancelled.")
        self._world.store.run(
            "UPDATE tiktok_posts SET cancelled_at = ? WHERE publish_id = ?",
            call.now_ms,
            row["publish_id"],
        )
        return ok({})

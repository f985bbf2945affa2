"""Reels: containers, the fetch of `video_url`, media_publish, the publishing limit.

Rules: "Content Publishing - Instagram Platform", "IG User Media", "IG User Media Publish", "IG
Container", "IG User Content Publishing Limit". Byte uploads do not exist with Instagram Login
("Resumable Uploads" is for Facebook Login).
"""

import re
import secrets
from datetime import UTC, datetime
from typing import Any, Final

from minitik_dagster.local.sandbox.accounts import digits
from minitik_dagster.local.sandbox.fetch import Fetched, fetchable
from minitik_dagster.local.sandbox.http import Call, Reply, json_reply
from minitik_dagster.local.sandbox.instagram.envelope import MESSAGES, graph_error, parse_code
from minitik_dagster.local.sandbox.instagram.oauth import authorized, parameters
from minitik_dagster.local.sandbox.posts import NewPost
from minitik_dagster.local.sandbox.store import Row
from minitik_dagster.local.sandbox.world import World

PUBLISH_SCOPE: Final = "instagram_business_content_publish"
BASIC_SCOPE: Final = "instagram_business_basic"
_CAPTION_MAX: Final = 2_200
_HASHTAGS_MAX: Final = 30
_MENTIONS_MAX: Final = 20
_COLLABORATORS_MAX: Final = 3
_DAY_MS: Final = 86_400_000
_LIMIT_FIELDS: Final = frozenset({"quota_usage", "config", "rate_limit_settings"})
_OPTIONS: Final = (
    "caption", "share_to_feed", "thumb_offset", "cover_url", "is_ai_generated", "audio_name",
    "collaborators",
)  # fmt: skip
_FETCH_ERRORS: Final = {
    "unreachable": "9004/2207052",
    "timeout": "-2/2207003",
    "too_large": "352/2207026",
}


def no_such_object(identity: str) -> Reply:
    """Refuse an id that does not exist or belongs to another account: the two look alike."""
    return graph_error(
        100,
        33,
        f"Unsupported request. Object with ID '{identity}' does not exist, cannot be loaded due "
        "to missing permissions, or does not support this operation",
    )


def graph_time(epoch_ms: int) -> str:
    """Write an instant as the Graph API does."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")


def _offset_refused(values: dict[str, str]) -> bool:
    offset = values.get("thumb_offset", "0")
    return not (offset.isascii() and offset.isdigit())


class InstagramContainers:
    """From `POST /<IG_ID>/media` to `POST /<IG_ID>/media_publish`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def find(self, container: str) -> Row | None:
        """Return a container's row."""
        return self._world.store.one("SELECT * FROM instagram_containers WHERE id = ?", container)

    def resume_fetches(self) -> None:
        """Start anew the downloads that a restart has cut off."""
        for row in self._world.store.all(
            "SELECT id FROM instagram_containers WHERE fetched_at IS NULL"
        ):
            self._world.spawn(self._fetch(row["id"]))

    async def create(self, call: Call, ig_user: str) -> Reply:
        """Make a container and begin to fetch its video; only `video_url` is known here."""
        values = await parameters(call)
        token = authorized(self._world, call, values, PUBLISH_SCOPE)
        if isinstance(token, Reply):
            return token
        if ig_user not in {"me", token.account}:
            return no_such_object(ig_user)
        if refused := self._refuse_values(values):
            return refused
        limits = self._world.limits
        made = self._world.store.number(
            "SELECT count(*) FROM instagram_containers WHERE account = ? AND created_at > ?",
            token.account,
            call.now_ms - _DAY_MS,
        )
        if made >= limits.number("instagram", "containersPerDay"):
            return graph_error(9, 2207042)
        container = "1788" + digits(13)
        slow = call.slow_ms
        self._world.store.run(
            "INSERT INTO instagram_containers (id, account, video_url, caption, created_at, "
            "processing_ms, fail_code) VALUES (?, ?, ?, ?, ?, ?, ?)",
            container,
            token.account,
            values["video_url"],
            values.get("caption", ""),
            call.now_ms,
            limits.number("instagram", "processingMs") if slow is None else slow,
            call.fail_code,
        )
        self._world.posts.keep_options(
            "instagram", container, {name: values[name] for name in _OPTIONS if name in values}
        )
        self._world.spawn(self._fetch(container))
        return json_reply(200, {"id": container})

    def _refuse_values(self, values: dict[str, str]) -> Reply | None:
        if not values.get("video_url"):
            # upload_type=resumable is ignored with Instagram Login: it ends here too.
            return graph_error(100, None, "The parameter video_url is required")
        if values.get("media_type") != "REELS":
            return graph_error(100, 2207023)
        caption = values.get("caption", "")
        if len(caption) > _CAPTION_MAX:
            return graph_error(36004, 2207010)
        if len(re.findall(r"#\w+", caption)) > _HASHTAGS_MAX:
            return graph_error(100, 2207040)
        if len(re.findall(r"(?<!\w)@\w+", caption)) > _MENTIONS_MAX:
            return graph_error(100, 2207040)
        if _offset_refused(values):
            return graph_error(1, 2207057)
        if values.get("share_to_feed", "true").lower() not in {"true", "false", "1", "0"}:
            return graph_error(100, None, "(#100) Param share_to_feed must be a boolean")
        if values.get("collaborators", "").count(",") >= _COLLABORATORS_MAX:
            return graph_error(100, None, "(#100) Param collaborators takes at most 3 names")
        if values.get("is_ai_generated", "false").lower() not in {"true", "false", "1", "0"}:
            return graph_error(100, None, "(#100) Param is_ai_generated must be a boolean")
        if "cover_url" in values and not fetchable(values["cover_url"]):
            return graph_error(9004, 2207052)
        if not fetchable(values["video_url"]):
            return graph_error(9004, 2207052)
        return None

    async def _fetch(self, container: str) -> None:
        row = self.find(container)
        if row is None:
            return
        limits = self._world.limits
        got = await self._world.fetcher.fetch(
            row["video_url"],
            limits.number("instagram", "maxVideoBytes"),
            limits.number("instagram", "fetchTimeoutMs"),
        )
        error = row["fail_code"] if isinstance(got, Fetched) else _FETCH_ERRORS[got.reason]
        cover = self._world.posts.options("instagram", container).get("cover_url")
        if error is None and cover is not None:
            error = await self._cover_error(str(cover))
        self._world.store.run(
            "UPDATE instagram_containers SET fetched_at = ?, bytes = ?, sha256 = ?, error = ? "
            "WHERE id = ?",
            self._world.clock.now_ms(),
            got.bytes if isinstance(got, Fetched) else None,
            got.sha256 if isinstance(got, Fetched) else None,
            error,
            container,
        )

    async def _cover_error(self, url: str) -> str | None:
        """Return what is wrong with a cover: a JPEG of at most 8 MB ("IG User Media")."""
        limits = self._world.limits
        got = await self._world.fetcher.fetch(
            url,
            limits.number("instagram", "maxCoverBytes"),
            limits.number("instagram", "fetchTimeoutMs"),
        )
        if isinstance(got, Fetched):
            return None if got.head.startswith("ffd8ff") else "36001/2207005"
        return "36000/2207004" if got.reason == "too_large" else _FETCH_ERRORS[got.reason]

    def state(self, row: Row, as_of_ms: int) -> str:
        """Return a container's status_code as it was at an instant."""
        if row["published_at"] is not None and row["published_at"] <= as_of_ms:
            return "PUBLISHED"
        ttl_ms = 1000 * self._world.limits.number("instagram", "containerTtlSeconds")
        if as_of_ms >= row["created_at"] + ttl_ms:
            return "EXPIRED"
        if row["fetched_at"] is None or as_of_ms < row["fetched_at"]:
            return "IN_PROGRESS"
        if row["error"] and not row["fail_code"]:
            return "ERROR"
        if as_of_ms < row["fetched_at"] + row["processing_ms"]:
            return "IN_PROGRESS"
        return "ERROR" if row["error"] else "FINISHED"

    async def status(self, call: Call, container: str) -> Reply:
        """Answer a container's fields; it never tells the media id."""
        token = authorized(self._world, call, call.query, BASIC_SCOPE)
        if isinstance(token, Reply):
            return token
        row = self.find(container)
        if row is None or row["account"] != token.account:
            return no_such_object(container)
        state = self.state(row, call.as_of_ms)
        values = {
            "id": container,
            "status_code": state,
            "status": self._status_text(row, state),
        }
        names = [n for n in call.query.get("fields", "id").split(",") if n]
        if unknown := [n for n in names if n not in {*values, "copyright_check_status"}]:
            return graph_error(
                100, None, f"(#100) Tried accessing nonexisting field ({unknown[0]})"
            )
        return json_reply(200, {n: values[n] for n in (*names, "id") if n in values})

    def _status_text(self, row: Row, state: str) -> str:
        if state == "ERROR":
            code, subcode = parse_code(row["error"], "-1")
            text = MESSAGES.get((code, subcode or 0), "Unknown error.")
            return f"Error: {text} Error code {subcode or code}"
        return {
            "FINISHED": "Finished: Media has been uploaded and it is ready to be published.",
            "IN_PROGRESS": "In Progress: Media is still being processed.",
            "EXPIRED": "Expired: Media has expired.",
            "PUBLISHED": "Published: Media has been published.",
        }[state]

    async def publish(self, call: Call, ig_user: str) -> Reply:
        """Make a FINISHED container public; repeating it never makes a second post."""
        values = await parameters(call)
        token = authorized(self._world, call, values, PUBLISH_SCOPE)
        if isinstance(token, Reply):
            return token
        if ig_user not in {"me", token.account}:
            return no_such_object(ig_user)
        if not values.get("creation_id"):
            return graph_error(100, None, "The parameter creation_id is required")
        row = self.find(values["creation_id"])
        if row is None or row["account"] != token.account:
            return graph_error(24, 2207006)
        limits = self._world.limits
        state = self.state(row, call.now_ms)
        if state == "PUBLISHED":
            if limits.text("instagram", "repeatPublish") == "same-id":
                return json_reply(200, {"id": row["media_id"]})
            return graph_error(*parse_code(limits.text("instagram", "repeatRefusal"), "24/2207008"))
        if state == "EXPIRED":
            return graph_error(24, 2207008)
        if state != "FINISHED":
            return graph_error(9007, 2207027)
        if self._used(token.account, call.now_ms) >= limits.number("instagram", "postsPerDay"):
            return graph_error(9, 2207042)
        return json_reply(200, {"id": self._publish(row)})

    def _publish(self, row: Row) -> str:
        now = self._world.clock.now_ms()
        media = "1799" + digits(13)
        with self._world.store.transaction():
            self._world.store.run(
                "UPDATE instagram_containers SET published_at = ?, media_id = ? WHERE id = ?",
                now,
                media,
                row["id"],
            )
            self._world.posts.add(
                NewPost(
                    platform="instagram",
                    id=media,
                    handle=row["id"],
                    account=row["account"],
                    caption=row["caption"],
                    bytes=row["bytes"],
                    sha256=row["sha256"],
                    published_at=now,
                    available_at=now,
                    privacy="PUBLIC",
                    public=True,
                    shortcode="D" + secrets.token_urlsafe(8),
                )
            )
        return media

    def _used(self, account: str, now_ms: int) -> int:
        return self._world.posts.published_since("instagram", account, now_ms - _DAY_MS)

    async def publishing_limit(self, call: Call, ig_user: str) -> Reply:
        """Answer the live quota of the moving 24 hours."""
        token = authorized(self._world, call, call.query, PUBLISH_SCOPE)
        if isinstance(token, Reply):
            return token
        if ig_user not in {"me", token.account}:
            return no_such_object(ig_user)
        names = [n for n in call.query.get("fields", "quota_usage").split(",") if n]
        if unknown := [n for n in names if n not in _LIMIT_FIELDS]:
            return graph_error(
                100, None, f"(#100) Tried accessing nonexisting field ({unknown[0]})"
            )
        since = call.query.get("since", str((call.now_ms - _DAY_MS) // 1000 + 1))
        if not (since.isascii() and since.isdigit()) or (
            int(since) * 1000 < call.now_ms - _DAY_MS or int(since) * 1000 > call.now_ms
        ):
            return graph_error(100, None, "(#100) Param since must be a time of the last 24 hours")
        used = self._world.posts.published_since("instagram", token.account, int(since) * 1000)
        values: dict[str, Any] = {
            "quota_usage": used
            if "since" in call.query
            else self._used(token.account, call.now_ms),
            "config": {
                "quota_total": self._world.limits.number("instagram", "postsPerDay"),
                "quota_duration": 86_400,
            },
        }
        return json_reply(200, {"data": [{n: values[n] for n in names if n in values}]})

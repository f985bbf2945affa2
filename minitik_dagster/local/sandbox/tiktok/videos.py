"""The Display API: the creator's public videos and their numbers.

Rules: "List Videos", "Query Videos", "Video Object", "TikTok API v2 Rate Limits".
"""

from typing import Any, Final

from minitik_dagster.local.sandbox.http import Call, Reply
from minitik_dagster.local.sandbox.store import Row
from minitik_dagster.local.sandbox.tiktok.envelope import error, ok
from minitik_dagster.local.sandbox.tiktok.publishing import authorized
from minitik_dagster.local.sandbox.world import World

_FIELDS: Final = frozenset(
    {
        "id", "create_time", "cover_image_url", "share_url", "video_description", "duration",
        "height", "width", "title", "embed_html", "embed_link", "like_count", "comment_count",
        "share_count", "view_count", "is_aigc",
    }
)  # fmt: skip
_USER_FIELDS: Final = frozenset(
    {"open_id", "union_id", "avatar_url", "display_name", "username", "profile_deep_link"}
)
_PAGE_DEFAULT: Final = 10
_PAGE_MAX: Final = 20


def _fields(call: Call, known: frozenset[str]) -> list[str] | None:
    names = [name for name in call.query.get("fields", "").split(",") if name]
    return names if names and known.issuperset(names) else None


class TikTokVideos:
    """`/v2/video/list/`, `/v2/video/query/` and `/v2/user/info/`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _admitted(self, call: Call, scope: str) -> str | Reply:
        account = authorized(self._world, call, scope)
        if isinstance(account, Reply):
            return account
        if not self._world.limits.admit("tiktok", "list", account + call.path, call.now_ms):
            return error("rate_limit_exceeded", "The API rate limit was exceeded.")
        return account

    async def listed(self, call: Call) -> Reply:
        """List public videos, newest first; `cursor` is an instant in epoch ms."""
        account = self._admitted(call, "video.list")
        if isinstance(account, Reply):
            return account
        names, body = _fields(call, _FIELDS), await call.json()
        if names is None or body is None:
            return error("invalid_params", "fields (in the query) is missing or unknown.")
        count, cursor = body.get("max_count", _PAGE_DEFAULT), body.get("cursor", call.now_ms)
        if not isinstance(count, int) or not 1 <= count <= _PAGE_MAX or not isinstance(cursor, int):
            return error("invalid_params", "max_count must be 1 to 20 and cursor an int64.")
        rows = [
            row
            for row in self._world.posts.of_account("tiktok", account, call.as_of_ms)
            if row["published_at"] <= cursor and row["available_at"] <= call.as_of_ms
        ]
        shown = rows[:count]
        return ok(
            {
                "videos": [self._video(row, names, call.as_of_ms) for row in shown],
                "cursor": shown[-1]["published_at"] - 1 if shown else cursor,
                "has_more": len(rows) > len(shown),
            }
        )

    async def queried(self, call: Call) -> Reply:
        """Return up to 20 of the creator's own videos by id; others are left out."""
        account = self._admitted(call, "video.list")
        if isinstance(account, Reply):
            return account
        names, body = _fields(call, _FIELDS), await call.json() or {}
        filters = body.get("filters")
        ids = filters.get("video_ids") if isinstance(filters, dict) else None
        if names is None or not isinstance(ids, list) or not 1 <= len(ids) <= _PAGE_MAX:
            return error("invalid_params", "fields and 1 to 20 filters.video_ids are needed.")
        wanted = {str(item) for item in ids}
        rows = self._world.posts.of_account("tiktok", account, call.as_of_ms)
        return ok(
            {"videos": [self._video(r, names, call.as_of_ms) for r in rows if r["id"] in wanted]}
        )

    async def user_info(self, call: Call) -> Reply:
        """Return the creator's open_id and names."""
        account = authorized(self._world, call, "user.info.basic")
        if isinstance(account, Reply):
            return account
        names = _fields(call, _USER_FIELDS)
        row = self._world.accounts.find("tiktok", account)
        if names is None or row is None:
            return error("invalid_params", "fields is missing or unknown.")
        user = {
            "open_id": account,
            "union_id": row["app_scoped_id"],
            "avatar_url": "https://p16-sign.tiktokcdn.com/sandbox.webp",
            "display_name": row["username"],
            "username": row["username"],
            "profile_deep_link": f"https://www.tiktok.com/@{row['username']}",
        }
        return ok({"user": {name: user[name] for name in names}})

    def _video(self, row: Row, names: list[str], now_ms: int) -> dict[str, Any]:
        numbers = self._world.numbers.at("tiktok", row["id"], row["published_at"], now_ms)
        link = f"https://www.tiktok.com/@{row['account']}/video/{row['id']}"
        video: dict[str, Any] = {
            "id": row["id"],
            "create_time": row["published_at"] // 1000,
            "cover_image_url": "https://p16-sign.tiktokcdn.com/sandbox.webp",
            "share_url": link,
            "video_description": row["caption"],
            "duration": 0,
            "height": 0,
            "width": 0,
            "title": row["caption"],
            "embed_html": "",
            "embed_link": link,
            "like_count": numbers.get("likes"),
            "comment_count": numbers.get("comments"),
            "share_count": numbers.get("shares"),
            "view_count": numbers.get("views"),
            "is_aigc": False,
        }
        return {name: video[name] for name in names if video[name] is not None}

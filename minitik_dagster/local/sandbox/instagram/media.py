"""Published reels: the list, one reel's fields, insights, the profile; nothing can be deleted.

Rules: "IG Media", "IG Media Insights", "IG User Media" and "Me" references. `DELETE /<IG_MEDIA_ID>`
is for Facebook Login only.
"""

from typing import Any, Final

from minitik_dagster.local.sandbox.http import Call, Reply, json_reply
from minitik_dagster.local.sandbox.instagram.containers import (
    BASIC_SCOPE,
    graph_time,
    no_such_object,
)
from minitik_dagster.local.sandbox.instagram.envelope import graph_error
from minitik_dagster.local.sandbox.instagram.oauth import authorized
from minitik_dagster.local.sandbox.store import Row
from minitik_dagster.local.sandbox.world import World

_INSIGHTS_SCOPE: Final = "instagram_business_manage_insights"
_PAGE_DEFAULT: Final = 25
_PAGE_MAX: Final = 100
_MEDIA_FIELDS: Final = frozenset(
    {
        "id", "permalink", "shortcode", "timestamp", "media_type", "media_product_type",
        "username", "owner", "caption", "like_count", "comments_count", "is_shared_to_feed",
    }
)  # fmt: skip
METRICS: Final = (
    "views", "reach", "likes", "comments", "shares", "saved", "total_interactions", "reposts",
    "ig_reels_avg_watch_time", "ig_reels_video_view_total_time", "reels_skip_rate",
)  # fmt: skip
_FACEBOOK_ONLY: Final = frozenset({"crossposted_views", "facebook_views"})


class InstagramMedia:
    """What can be read of an account and its reels."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def me(self, call: Call) -> Reply:
        """Answer the profile: `user_id` goes into paths, `id` is the app's own."""
        token = authorized(self._world, call, call.query, BASIC_SCOPE)
        if isinstance(token, Reply):
            return token
        row = self._world.accounts.find("instagram", token.account)
        if row is None:
            return no_such_object("me")
        values = {
            "user_id": token.account,
            "username": row["username"],
            "id": row["app_scoped_id"],
            "name": row["username"],
            "account_type": "BUSINESS",
            "media_count": len(
                self._world.posts.of_account("instagram", token.account, call.as_of_ms)
            ),
        }
        names = [n for n in call.query.get("fields", "id").split(",") if n]
        return json_reply(200, {n: values[n] for n in dict.fromkeys((*names, "id")) if n in values})

    async def listed(self, call: Call, ig_user: str) -> Reply:
        """List the account's media, newest first."""
        token = authorized(self._world, call, call.query, BASIC_SCOPE)
        if isinstance(token, Reply):
            return token
        if ig_user not in {"me", token.account}:
            return no_such_object(ig_user)
        names = self._fields(call)
        if isinstance(names, Reply):
            return names
        limit = call.query.get("limit", str(_PAGE_DEFAULT))
        if not limit.isdigit() or not 1 <= int(limit) <= _PAGE_MAX:
            return graph_error(100, None, "(#100) Param limit must be 1 to 100")
        rows = self._world.posts.of_account("instagram", token.account, call.as_of_ms)
        after = call.query.get("after")
        if after is not None:
            ids = [row["id"] for row in rows]
            rows = rows[ids.index(after) + 1 :] if after in ids else []
        shown = rows[: int(limit)]
        answer: dict[str, Any] = {"data": [self._media(r, names, call.as_of_ms) for r in shown]}
        if shown:
            cursors = {"before": shown[0]["id"], "after": shown[-1]["id"]}
            answer["paging"] = {"cursors": cursors}
            if len(rows) > len(shown):
                answer["paging"]["next"] = (
                    f"{call.origin}{call.prefix}{call.path}?limit={limit}"
                    f"&fields={call.query.get('fields', '')}&after={shown[-1]['id']}"
                )
        return json_reply(200, answer)

    async def one(self, call: Call, media: str) -> Reply:
        """Answer one reel's fields."""
        row = self._own(call, media, BASIC_SCOPE)
        if isinstance(row, Reply):
            return row
        names = self._fields(call)
        if isinstance(names, Reply):
            return names
        return json_reply(200, self._media(row, names, call.as_of_ms))

    async def delete(self, call: Call, media: str) -> Reply:
        """Refuse: with Instagram Login nothing can be deleted."""
        row = self._own(call, media, BASIC_SCOPE)
        if isinstance(row, Reply):
            return row
        return graph_error(
            10, None, "(#10) This api only supports Instagram API with Facebook login only"
        )

    async def insights(self, call: Call, media: str) -> Reply:
        """Answer lifetime metrics; what is not there yet is an empty set, not 0."""
        row = self._own(call, media, _INSIGHTS_SCOPE)
        if isinstance(row, Reply):
            return row
        names = [n for n in call.query.get("metric", "").split(",") if n]
        if not names:
            return graph_error(100, None, "(#100) The parameter metric is required")
        if _FACEBOOK_ONLY.intersection(names):
            return graph_error(1)
        if unknown := [n for n in names if n not in METRICS]:
            return graph_error(
                100,
                None,
                f"(#100) metric[{names.index(unknown[0])}] must be one of the following values: "
                + ", ".join(METRICS),
            )
        delay = self._world.limits.number("instagram", "insightsDelayMs")
        if call.as_of_ms < row["published_at"] + delay:
            return json_reply(200, {"data": []})
        values = self._values(row, call.as_of_ms)
        return json_reply(
            200,
            {
                "data": [
                    {
                        "name": name,
                        "period": "lifetime",
                        "values": [{"value": values[name]}],
                        "title": name.replace("_", " ").capitalize(),
                        "description": "",
                        "id": f"{media}/insights/{name}/lifetime",
                    }
                    for name in names
                    if name in values
                ]
            },
        )

    def _own(self, call: Call, media: str, scope: str) -> Row | Reply:
        token = authorized(self._world, call, call.query, scope)
        if isinstance(token, Reply):
            return token
        row = self._world.posts.find("instagram", media)
        gone = row is not None and row["removed_at"] is not None
        if (
            row is None
            or gone
            or row["account"] != token.account
            or row["published_at"] > call.as_of_ms
        ):
            return no_such_object(media)
        return row

    def _fields(self, call: Call) -> list[str] | Reply:
        names = [n for n in call.query.get("fields", "id").split(",") if n]
        if unknown := [n for n in names if n not in _MEDIA_FIELDS]:
            return graph_error(
                100, None, f"(#100) Tried accessing nonexisting field ({unknown[0]})"
            )
        return list(dict.fromkeys((*names, "id")))

    def _media(self, row: Row, names: list[str], now_ms: int) -> dict[str, Any]:
        numbers = self._numbers(row, now_ms)
        account = self._world.accounts.find("instagram", row["account"])
        values: dict[str, Any] = {
            "id": row["id"],
            "permalink": f"https://www.instagram.com/reel/{row['shortcode']}/",
            "shortcode": row["shortcode"],
            "timestamp": graph_time(row["published_at"]),
            "media_type": "VIDEO",
            "media_product_type": "REELS",
            "username": account["username"] if account else "",
            "owner": {"id": row["account"]},
            "like_count": numbers.get("likes", 0),
            "comments_count": numbers.get("comments", 0),
            "is_shared_to_feed": True,
        }
        if self._world.limits.get("instagram", "captionReadable"):
            values["caption"] = row["caption"]
        return {name: values[name] for name in names if name in values}

    def _numbers(self, row: Row, now_ms: int) -> dict[str, int]:
        return self._world.numbers.at("instagram", row["id"], row["published_at"], now_ms)

    def _values(self, row: Row, now_ms: int) -> dict[str, int | float]:
        """Return the metrics that are there; a withdrawn one leaves no entry."""
        numbers = self._numbers(row, now_ms)
        told: dict[str, int | float] = {
            name: numbers[name]
            for name in ("views", "reach", "likes", "comments", "shares", "saved")
            if name in numbers
        }
        return {
            **told,
            "total_interactions": sum(
                numbers.get(name, 0) for name in ("likes", "comments", "shares", "saved")
            ),
            "reposts": numbers.get("shares", 0) // 3,
            "ig_reels_avg_watch_time": numbers["watch_ms"] // max(1, numbers.get("views", 0)),
            "ig_reels_video_view_total_time": numbers["watch_ms"],
            "reels_skip_rate": 35.0,
        }

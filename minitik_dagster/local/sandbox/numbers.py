"""A post's counters as a platform tells them: grown by themselves, or set by a test.

`PUT /_sandbox/counters` sets them: `points` are (instant, values), of which the last one that is not
younger than the lag counts (a fall is a smaller value later on); `withdrawn` metrics are not sent at all;
`lagMs` is how late the platform's numbers are.
"""

import json
from typing import Any, Final

from minitik_dagster.local.sandbox.http import JsonObject
from minitik_dagster.local.sandbox.posts import NewPost, counters
from minitik_dagster.local.sandbox.store import Store

METRICS: Final = ("views", "likes", "comments", "shares", "saved", "reach", "watch_ms")
_STATUS: Final = {
    "privacyStatus": "public", "embeddable": True, "license": "youtube",
    "publicStatsViewable": True, "selfDeclaredMadeForKids": False,
}  # fmt: skip
_SEED_FIELDS: Final = frozenset({"platform", "account", "id", "publishedAt"})


class NumbersError(ValueError):
    """A control request was wrong; the text names the field and what it takes."""


class Numbers:
    """What each post's counters are at an instant."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def at(self, platform: str, identity: str, begun_ms: int, now_ms: int) -> dict[str, int]:
        """Return the counters that the platform sends; a withdrawn one is absent."""
        row = self._store.one(
            "SELECT body FROM counters WHERE platform = ? AND id = ?", platform, identity
        )
        if row is None:
            return counters(identity, begun_ms, now_ms)
        told: JsonObject = json.loads(row["body"])
        as_of = now_ms - int(told["lagMs"])
        numbers = (
            dict.fromkeys(METRICS, 0) if told["points"] else counters(identity, begun_ms, as_of)
        )
        for point in told["points"]:
            if point["at"] <= as_of:
                numbers |= {name: point[name] for name in METRICS if name in point}
        return {name: n for name, n in numbers.items() if name not in told["withdrawn"]}

    def set(self, body: JsonObject) -> None:
        """Set one post's counters; NumbersError names what is wrong."""
        platform, identity = body.get("platform"), body.get("id")
        points, withdrawn = body.get("points", []), body.get("withdrawn", [])
        if not isinstance(platform, str) or not isinstance(identity, str):
            raise NumbersError("platform and id must name a post")
        if not isinstance(withdrawn, list) or not set(withdrawn) <= set(METRICS):
            raise NumbersError(f"withdrawn must be a list of {', '.join(METRICS)}")
        if not isinstance(points, list) or not all(_is_point(point) for point in points):
            raise NumbersError('points must be a list of {"at": epoch ms, "views": …}')
        told = {
            "points": sorted(points, key=lambda point: point["at"]),
            "withdrawn": withdrawn,
            "lagMs": int(body.get("lagMs", 0)),
        }
        self._store.run(
            "INSERT INTO counters (platform, id, body) VALUES (?, ?, ?) "
            "ON CONFLICT (platform, id) DO UPDATE SET body = excluded.body",
            platform,
            identity,
            json.dumps(told),
        )


def _is_point(point: Any) -> bool:
    return isinstance(point, dict) and all(
        type(value) is int and name in {"at", *METRICS} for name, value in point.items()
    )


def seeded(post: Any) -> NewPost:
    """Read a public post that is to be there without having been published; NumbersError if bad."""
    if (
        not isinstance(post, dict)
        or set(post) != _SEED_FIELDS
        or type(post["publishedAt"]) is not int
    ):
        raise NumbersError(f"each post must have {', '.join(sorted(_SEED_FIELDS))}; got {post!r}")
    return NewPost(
        platform=post["platform"],
        id=post["id"],
        handle=post["id"],
        account=post["account"],
        caption="",
        bytes=1,
        sha256="",
        published_at=post["publishedAt"],
        available_at=post["publishedAt"],
        privacy="public",
        public=True,
        shortcode=post["id"],
    )


def seed_video(store: Store, post: NewPost) -> None:
    """Give a seeded YouTube post the video that its platform knows."""
    snippet = {"title": post.id, "description": "", "tags": [], "categoryId": "22"}
    store.run(
        "INSERT INTO youtube_videos (id, account, snippet, status, earlier_status, "
        "status_changed_at, publish_at, bytes, sha256, created_at, processing_ms, fail_code, "
        "first_public_at) VALUES (?, ?, ?, ?, ?, ?, NULL, 1, '', ?, 0, NULL, ?)",
        post.id, post.account, json.dumps(snippet), json.dumps(_STATUS), json.dumps(_STATUS),
        post.published_at, post.published_at, post.published_at,
    )  # fmt: skip

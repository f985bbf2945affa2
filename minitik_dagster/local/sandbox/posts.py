"""Posts: what the platforms show to the world, one per handle."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from minitik_dagster.local.sandbox.store import Row, Store

_PUBLIC: Final = (
    "public = 1 AND removed_at IS NULL AND published_at IS NOT NULL AND published_at <= ?"
)


@dataclass(frozen=True)
class NewPost:
    """What a platform knows of a post when it makes it; `available_at` is when its id shows."""

    platform: str
    id: str
    handle: str
    account: str
    caption: str
    bytes: int
    sha256: str
    published_at: int | None
    available_at: int
    privacy: str
    public: bool
    shortcode: str = ""


class Posts:
    """The one table of posts; the (platform, handle) key lets no handle make two."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, post: NewPost) -> None:
        """Record a post."""
        self._store.run(
            "INSERT INTO posts (platform, id, handle, account, caption, bytes, sha256, "
            "published_at, available_at, privacy, public, shortcode) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            post.platform, post.id, post.handle, post.account, post.caption, post.bytes,
            post.sha256, post.published_at, post.available_at, post.privacy, int(post.public),
            post.shortcode,
        )  # fmt: skip

    def keep_options(self, platform: str, handle: str, options: dict[str, Any]) -> None:
        """Remember what was asked for a handle's post, beside what was asked before."""
        merged = {**self.options(platform, handle), **options}
        self._store.run(
            "INSERT INTO post_options (platform, handle, options) VALUES (?, ?, ?) "
            "ON CONFLICT (platform, handle) DO UPDATE SET options = excluded.options",
            platform,
            handle,
            json.dumps(merged),
        )

    def options(self, platform: str, handle: str) -> dict[str, Any]:
        """Return what was asked for a handle's post, in the platform's own names."""
        row = self._store.one(
            "SELECT options FROM post_options WHERE platform = ? AND handle = ?", platform, handle
        )
        return dict(json.loads(row["options"])) if row else {}

    def find(self, platform: str, identity: str) -> Row | None:
        """Return one post by its id, public or not."""
        return self._store.one(
            "SELECT * FROM posts WHERE platform = ? AND id = ?", platform, identity
        )

    def of_account(self, platform: str, account: str, as_of_ms: int) -> list[Row]:
        """Return an account's public posts at an instant, newest first."""
        return self._store.all(
            f"SELECT * FROM posts WHERE platform = ? AND account = ? AND {_PUBLIC} "  # noqa: S608 - a constant
            "ORDER BY published_at DESC, rowid DESC",
            platform,
            account,
            as_of_ms,
        )

    def published_since(self, platform: str, account: str, since_ms: int) -> int:
        """Count an account's posts made after an instant, whatever became of them."""
        return self._store.number(
            "SELECT count(*) FROM posts WHERE platform = ? AND account = ? AND published_at > ?",
            platform,
            account,
            since_ms,
        )

    def set_privacy(
        self, identity: str, privacy: str, published_at: int | None, *, watchable: bool
    ) -> None:
        """Change who may see a YouTube video; `published_at` is kept once it is set.

        A video that YouTube could not process or rejected is never public (`watchable`).
        """
        self._store.run(
            "UPDATE posts SET privacy = ?, public = ?, "
            "published_at = COALESCE(published_at, ?) WHERE platform = 'youtube' AND id = ?",
            privacy,
            int(watchable and privacy == "public"),
            published_at,
            identity,
        )

    def describe(self, platform: str, identity: str, caption: str) -> None:
        """Change a post's caption."""
        self._store.run(
            "UPDATE posts SET caption = ? WHERE platform = ? AND id = ?",
            caption,
            platform,
            identity,
        )

    def remove(self, platform: str, identity: str, at_ms: int) -> None:
        """Take a post away from the world."""
        self._store.run(
            "UPDATE posts SET removed_at = ? WHERE platform = ? AND id = ?",
            at_ms,
            platform,
            identity,
        )

    def shown(self, now_ms: int) -> list[dict[str, Any]]:
        """Return what is public now, oldest first, in the contract's form."""
        rows = self._store.all(
            f"SELECT * FROM posts WHERE {_PUBLIC} ORDER BY published_at, rowid",  # noqa: S608 - a constant
            now_ms,
        )
        return [_contract_form(row) for row in rows]

    def shown_all(self, now_ms: int) -> list[dict[str, Any]]:
        """Return every post ever made with its privacy, handle, options and removal: for tests."""
        return [
            {
                **_contract_form(row),
                "handle": row["handle"],
                "privacy": row["privacy"],
                "options": self.options(row["platform"], row["handle"]),
                "public": bool(row["public"])
                and row["removed_at"] is None
                and row["published_at"] is not None
                and row["published_at"] <= now_ms,
                "removedAt": row["removed_at"],
            }
            for row in self._store.all("SELECT * FROM posts ORDER BY rowid")
        ]


def _contract_form(row: Row) -> dict[str, Any]:
    return {
        "platform": row["platform"],
        "id": row["id"],
        "account": row["account"],
        "caption": row["caption"],
        "bytes": row["bytes"],
        "sha256": row["sha256"],
        "publishedAt": row["published_at"],
    }


def counters(identity: str, published_at: int, now_ms: int) -> dict[str, int]:
    """Return a post's numbers at an instant: they only grow, and the same post grows the same.

    A post's id decides its pace; an hour of age is worth `pace` views, less as it grows older.
    """
    seed = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:4], "big")
    minutes = max(0, now_ms - published_at) // 60_000
    pace = 20 + seed % 180
    views = pace * minutes * 600 // (600 + minutes)
    likes = views * (4 + seed // 7 % 9) // 100
    return {
        "views": views,
        "likes": likes,
        "comments": likes // (6 + seed // 11 % 10),
        "shares": likes // (9 + seed // 13 % 12),
        "saved": likes // (8 + seed // 17 % 12),
        "reach": views * 8 // 10,
        "watch_ms": views * (2_500 + seed % 6_000),
    }

"""Live posts of real accounts at the sandbox, and eyes on what is read of them."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.analytics.cadence import HOUR
from minitik_dagster.analytics.live_posts import live_posts
from minitik_dagster.analytics.readings import Series, document_of
from minitik_dagster.analytics.store import AnalyticsStore
from minitik_dagster.db.models import Content
from minitik_dagster.db.types import ContentStatus, Platform
from minitik_dagster.ids import new_id
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.platforms.port import PostMetrics
from tests.accounts.scene import AccountScene

# The rung of the ladder at an age of 37 days: its reading may be taken for a week, whatever the hour.
PATIENT = 888 * HOUR
_LIVE = """
INSERT INTO publications (id, "contentId", "accountId", platform, status, stage, "dueAt", "acceptedAt",
    "publishedAt", "verifiedAt", "committedAt", "platformPostId", "createdAt", "updatedAt", revision,
    "leaseToken")
SELECT :id, :content, a.id, a.platform, 'PUBLISHED', 'live', :live, :live, :live, :live, :committed,
    :post, :live, :live, 0, 0
FROM accounts a WHERE a.id = :account
"""


@lru_cache(maxsize=1)
def this_hour() -> datetime:
    """The whole hour that had begun when it was first asked: a test that crosses an hour keeps its own."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


class AnalyticsScene:
    """One person's accounts and their live posts."""

    def __init__(
        self, environment: Mapping[str, str], sandbox: SandboxServer, store: AnalyticsStore
    ) -> None:
        self.accounts = AccountScene(environment, sandbox)
        self.sandbox, self.store, self.engine = sandbox, store, self.accounts.engine
        self.settings, self.user_id = self.accounts.settings, self.accounts.user_id

    def account(self, platform: Platform) -> str:
        """A connected account with a good token."""
        now = datetime.now(UTC)
        return self.accounts.account(
            platform, token_issued_at=now, token_expires_at=now + timedelta(days=1)
        )

    def content(self, title: str = "A title") -> str:
        """A content that has been published."""
        now, content_id = datetime.now(UTC), new_id()
        with Session(self.engine) as session, session.begin():
            session.add(
                Content(
                    id=content_id,
                    user_id=self.user_id,
                    title=title,
                    status=ContentStatus.PUBLISHED,
                    created_at=now,
                    updated_at=now,
                )
            )
        return content_id

    def post(
        self,
        account_id: str,
        *,
        live_at: datetime | None = None,
        adopted: bool = False,
        content_id: str | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> Series:
        """A live post, due for a reading at this hour unless told otherwise."""
        live_at = live_at or this_hour() - PATIENT - timedelta(minutes=10)
        row = self.accounts.row(account_id)
        platform_post_id = f"{secrets.randbelow(10**18)}"
        self._at_platform(row.platform, row.platform_account_id, platform_post_id, live_at, counts)
        publication_id, live = new_id(), live_at.replace(tzinfo=None)
        values = {
            "id": publication_id,
            "content": content_id or self.content(),
            "account": account_id,
            "live": live,
            "committed": None if adopted else live,
            "post": platform_post_id,
        }
        with self.engine.begin() as connection:
            connection.execute(text(_LIVE), values)
            [found] = live_posts(connection, ids=[publication_id])
        return found.series

    def _at_platform(
        self,
        platform: Platform,
        owner: str,
        identity: str,
        live_at: datetime,
        counts: Mapping[str, int] | None,
    ) -> None:
        name, at = platform.value.lower(), int(live_at.timestamp() * 1000)
        post = {"platform": name, "account": owner, "id": identity, "publishedAt": at}
        self.sandbox.call("POST", "/_sandbox/posts", {"posts": [post]})
        if counts:
            self.set_counters(name, identity, points=[{"at": at, **counts}])

    def set_counters(self, platform: str, identity: str, **told: Any) -> None:
        """Set what the platform tells of a post."""
        body = {"platform": platform, "id": identity, **told}
        self.sandbox.call("PUT", "/_sandbox/counters", body)

    def reading(self, series: Series, at: datetime, **counts: int | None) -> None:
        """A reading that was taken at an instant."""
        found = PostMetrics(post_id=series.platform_post_id, **counts)
        slot = at.replace(minute=0, second=0, microsecond=0)
        self.store.insert([document_of(series, found, slot, at)])

    def documents(self, name: str = "analytics") -> list[dict[str, Any]]:
        """Everything in a collection."""
        return list(self.store.database[name].find())

    def run(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Change or read the database by hand."""
        with self.engine.begin() as connection:
            found = connection.execute(text(sql), values)
            return [dict(row) for row in found.mappings()] if found.returns_rows else []

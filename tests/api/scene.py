"""People, accounts and contents as rows of a real database, and eyes on it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import create_key
from minitik_dagster.db.models import Account, Content, User
from minitik_dagster.db.types import AccountStatus, ContentStatus, Platform, SubscriptionTier
from minitik_dagster.ids import new_id
from minitik_dagster.media.facts import MediaFacts

TABLES = (
    "users", "accounts", "contents", "scheduled_jobs", "publications", "publication_steps",
    "handles", "posts", "dead_letters", "idempotency_keys", "outbox", "settings", "upload_sessions",
    "upload_parts", "oauth_states", "verification_tokens", "inbound_events", "webhooks",
    "webhook_deliveries", "events", "notification_subscriptions", "notification_preferences",
)  # fmt: skip
VERTICAL = MediaFacts(
    container="mp4",
    mime_type="video/mp4",
    size=11_000_000,
    video_codec="h264",
    width=1080,
    height=1920,
    duration=12.0,
    fps=30.0,
    bitrate=7_000_000,
    pixel_format="yuv420p",
    audio_codec="aac",
    audio_sample_rate=48_000,
    index_first=True,
)


@dataclass(frozen=True)
class Person:
    """A user and the headers of a key of theirs."""

    id: str
    headers: dict[str, str]


class Scene:
    """Makes what a test needs and reads what became of it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def person(
        self,
        *scopes: str,
        email: str | None = None,
        verified: bool = True,
        tier: SubscriptionTier = SubscriptionTier.BUSINESS,
    ) -> Person:
        """A new user with a key of these scopes (none = all but admin)."""
        now = datetime.now(UTC)
        user_id = new_id()
        with Session(self.engine) as session, session.begin():
            session.add(
                User(
                    id=user_id,
                    email=email or f"{user_id}@example.test",
                    email_verified=now if verified else None,
                    subscription_tier=tier,
                    created_at=now,
                    updated_at=now,
                )
            )
            session.flush()
            key = create_key(session, user_id, "test", scopes=scopes)
        return Person(user_id, {"Authorization": f"Bearer {key}"})

    def account(
        self,
        person: Person,
        platform: Platform = Platform.INSTAGRAM,
        *,
        status: AccountStatus = AccountStatus.CONNECTED,
        details: dict[str, Any] | None = None,
    ) -> str:
        """A connected account; a TikTok one has a default privacy unless `details` says otherwise."""
        now = datetime.now(UTC)
        account_id = new_id()
        if details is None and platform is Platform.TIKTOK:
            details = {"tiktok": {"defaultPrivacy": "SELF_ONLY"}}
        with Session(self.engine) as session, session.begin():
            session.add(
                Account(
                    id=account_id,
                    user_id=person.id,
                    platform=platform,
                    platform_account_id=f"p-{account_id}",
                    platform_username="someone",
                    access_token="sealed-access-token",
                    refresh_token="sealed-refresh-token",
                    token_expires_at=now + timedelta(days=60),
                    status=status,
                    connected_at=now,
                    details=details,
                )
            )
        return account_id

    def content(
        self,
        person: Person,
        *,
        title: str = "A title",
        description: str | None = None,
        facts: MediaFacts | None = VERTICAL,
        complete: bool = True,
        deleted: bool = False,
    ) -> str:
        """A content whose upload is complete."""
        now = datetime.now(UTC)
        content_id = new_id()
        with Session(self.engine) as session, session.begin():
            session.add(
                Content(
                    id=content_id,
                    user_id=person.id,
                    title=title,
                    description=description,
                    file_path=f"content/{person.id}/{content_id}/v.mp4" if complete else None,
                    file_size=facts.size if facts else 11_000_000,
                    mime_type="video/mp4",
                    status=ContentStatus.DRAFT,
                    details=facts.to_metadata() if facts else None,
                    created_at=now,
                    updated_at=now,
                    deleted_at=now if deleted else None,
                )
            )
        return content_id

    def rows(self, sql: str, **parameters: Any) -> Sequence[dict[str, Any]]:
        """What a query finds."""
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(sql), parameters).mappings()]

    def run(self, sql: str, **parameters: Any) -> None:
        """Change rows as another program would."""
        with self.engine.begin() as connection:
            connection.execute(text(sql), parameters)

    def fingerprint(self, *, but: str | None = None) -> str:
        """A digest of every row that a refused request must not have touched, of all tables but one."""
        digest = hashlib.sha256()
        with self.engine.connect() as connection:
            for table in TABLES:
                if table == but:
                    continue
                # The epoch goes on by itself, whatever is asked.
                own = "WHERE key NOT LIKE 'epoch%'" if table == "settings" else ""
                rows = f"SELECT md5(t::text) AS row FROM {table} t {own} ORDER BY 1"  # noqa: S608 - a constant
                digest.update(f"{table}:{connection.execute(text(rows)).scalars().all()}".encode())
        return digest.hexdigest()

"""Makes accounts, videos and due posts against real servers, for tests, chaos trials and benchmarks.

It writes the rows that the intake API would write, in bulk and without waiting for HTTP; nothing of
the engine is replaced.
"""

import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.models import Account, Content, Publication, ScheduledJob, User
from minitik_dagster.db.types import (
    AccountStatus,
    ContentStatus,
    JobPriority,
    JobStatus,
    Platform,
    PublicationStatus,
    SubscriptionTier,
    from_db,
)
from minitik_dagster.ids import new_id
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.scheduling.lead import prepare_at
from minitik_dagster.settings import Settings


@dataclass(frozen=True)
class Video:
    """A stored video: its content row's id, size and SHA-256."""

    content_id: str
    size: int
    sha256: str


@dataclass
class Workbench:
    """One database, one bucket, one sandbox."""

    settings: Settings
    sandbox: SandboxServer
    user_id: str = field(default_factory=new_id)

    def __post_init__(self) -> None:
        self.engine: Engine = make_engine(self.settings.require_database_url())
        self.objects = ObjectStore.from_settings(self.settings)
        now = self.now()
        with Session(self.engine) as session, session.begin():
            session.add(
                User(
                    id=self.user_id,
                    email=f"{self.user_id}@example.org",
                    email_verified=now,
                    subscription_tier=SubscriptionTier.BUSINESS,
                    created_at=now,
                    updated_at=now,
                )
            )

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def now(self) -> datetime:
        """PostgreSQL's present instant."""
        with self.engine.connect() as connection:
            stored = connection.execute(text("SELECT clock_timestamp() AT TIME ZONE 'UTC'"))
            return from_db(stored.scalar_one())

    def add_account(self, platform: Platform, **details: object) -> str:
        """Connect a new account in the sandbox and return its id here."""
        given = self.sandbox.create_account(platform.value.lower(), **details)
        vault = Vault.from_settings(self.settings)
        now = self.now()
        refresh = given["refreshToken"]
        account = Account(
            id=new_id(),
            user_id=self.user_id,
            platform=platform,
            platform_account_id=given["platformAccountId"],
            platform_username=given["username"],
            access_token=vault.seal(given["accessToken"]),
            refresh_token=vault.seal(refresh) if refresh else None,
            token_expires_at=now + timedelta(seconds=given["expiresIn"]),
            status=AccountStatus.CONNECTED,
            connected_at=now,
            details={"tiktok": {"defaultPrivacy": "PUBLIC_TO_EVERYONE"}},
        )
        with Session(self.engine) as session, session.begin():
            session.add(account)
            return account.id

    def add_video(self, size: int = 300_000, *, body: bytes | None = None) -> Video:
        """Store a file of `size` random bytes (the sandbox hashes, it does not decode)."""
        data = body if body is not None else _video_like(size)
        content_id = new_id()
        key = f"content/{self.user_id}/{content_id}/video.mp4"
        self.objects.put(key, data, "video/mp4")
        now = self.now()
        with Session(self.engine) as session, session.begin():
            session.add(
                Content(
                    id=content_id,
                    user_id=self.user_id,
                    title=f"Video {content_id[-6:]}",
                    file_path=key,
                    file_size=len(data),
                    mime_type="video/mp4",
                    duration=5,
                    status=ContentStatus.DRAFT,
                    details=None,
                    created_at=now,
                    updated_at=now,
                )
            )
        return Video(content_id, len(data), sha256(data).hexdigest())

    def schedule(
        self,
        video: Video,
        accounts: Sequence[tuple[str, Platform]],
        due_at: datetime,
        *,
        options: dict[str, Any] | None = None,
        max_lateness: int | None = 21600,
    ) -> list[str]:
        """Schedule a video on accounts at `due_at`; return the publications' ids."""
        return self.schedule_many([(video, accounts, due_at)], options, max_lateness)

    def schedule_many(
        self,
        wishes: Iterable[tuple[Video, Sequence[tuple[str, Platform]], datetime]],
        options: dict[str, Any] | None = None,
        max_lateness: int | None = 21600,
    ) -> list[str]:
        """Schedule many at once, in one transaction."""
        now = self.now()
        ids = []
        with Session(self.engine) as session, session.begin():
            for video, accounts, due_at in wishes:
                job = ScheduledJob(
                    id=new_id(),
                    content_id=video.content_id,
                    account_ids=[account_id for account_id, _ in accounts],
                    scheduled_at=due_at,
                    timezone="UTC",
                    priority=JobPriority.NORMAL,
                    status=JobStatus.PENDING,
                    attempts=0,
                    max_attempts=3,
                    created_at=now,
                    updated_at=now,
                )
                session.add(job)
                session.flush()
                for account_id, platform in accounts:
                    row = _publication(job, video, account_id, platform, due_at, now)
                    row.options = _options(platform, video) | (options or {})
                    row.max_lateness = max_lateness
                    session.add(row)
                    ids.append(row.id)
            session.execute(text("SELECT pg_notify('minitik_due', '')"))
        return ids

    def rows(self, publication_ids: Sequence[str]) -> list[Publication]:
        """Read publications as they stand."""
        with Session(self.engine) as session:
            found = session.query(Publication).where(Publication.id.in_(publication_ids)).all()
            session.expunge_all()
            return found

    def public_posts(self, video: Video) -> list[dict[str, Any]]:
        """What the sandbox shows of this video's bytes."""
        return [post for post in self.sandbox.posts() if post["sha256"] == video.sha256]


def _publication(
    job: ScheduledJob,
    video: Video,
    account_id: str,
    platform: Platform,
    due_at: datetime,
    now: datetime,
) -> Publication:
    return Publication(
        id=new_id(),
        content_id=video.content_id,
        account_id=account_id,
        platform=platform,
        status=PublicationStatus.QUEUED,
        stage="scheduled",
        scheduled_job_id=job.id,
        due_at=due_at,
        prepare_at=prepare_at(platform, due_at, video.size),
        attempts=0,
        priority=JobPriority.NORMAL,
        revision=0,
        lease_token=0,
        confirm_polls=0,
        metrics=None,
        created_at=now,
        updated_at=now,
    )


def _options(platform: Platform, video: Video) -> dict[str, Any]:
    options: dict[str, Any] = {"caption": f"A caption {video.content_id[-6:]}"}
    if platform is Platform.TIKTOK:
        options["privacy"] = "PUBLIC_TO_EVERYONE"
    return options


def _video_like(size: int) -> bytes:
    head = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
    return head + secrets.token_bytes(8) + os.urandom(size - len(head) - 8)

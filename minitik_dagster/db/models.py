"""Tables of the adopted schema (`users` … `notification_subscriptions`) with our added columns.

And `notification_preferences`, ours, which stands beside the subscriptions.

Attribute names are ours, column names are the schema's. Defaults of the database are not relied
on: every row says what it holds (CURRENT_TIMESTAMP would follow the connection's time zone).
"""

from datetime import datetime, time
from typing import Any

from sqlalchemy import BigInteger, Boolean, ForeignKey, Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIME
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from minitik_dagster.db.types import (
    AccountStatus,
    ContentStatus,
    JobPriority,
    JobStatus,
    Platform,
    PublicationStatus,
    SubscriptionTier,
    UtcTimestamp,
    pg_enum,
)


class Base(DeclarativeBase):
    """The one metadata of adopted and added tables."""


class User(Base):
    """A person who publishes."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    email: Mapped[str] = mapped_column(Text)
    email_verified: Mapped[datetime | None] = mapped_column("emailVerified", UtcTimestamp)
    name: Mapped[str | None] = mapped_column(Text)
    image: Mapped[str | None] = mapped_column(Text)
    password_hash: Mapped[str | None] = mapped_column("passwordHash", Text)
    subscription_tier: Mapped[SubscriptionTier] = mapped_column(
        "subscriptionTier", pg_enum(SubscriptionTier)
    )
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)
    updated_at: Mapped[datetime] = mapped_column("updatedAt", UtcTimestamp)
    deleted_at: Mapped[datetime | None] = mapped_column("deletedAt", UtcTimestamp)


class Session(Base):
    """A signed-in browser."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    session_token: Mapped[str] = mapped_column("sessionToken", Text)
    user_id: Mapped[str] = mapped_column("userId", Text, ForeignKey("users.id"))
    expires: Mapped[datetime] = mapped_column(UtcTimestamp)


class Account(Base):
    """A platform account that a user has connected; both tokens are sealed (accounts.vault)."""

    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[str] = mapped_column("userId", Text, ForeignKey("users.id"))
    platform: Mapped[Platform] = mapped_column(pg_enum(Platform))
    platform_account_id: Mapped[str] = mapped_column("platformAccountId", Text)
    platform_username: Mapped[str | None] = mapped_column("platformUsername", Text)
    access_token: Mapped[str] = mapped_column("accessToken", Text)
    refresh_token: Mapped[str | None] = mapped_column("refreshToken", Text)
    token_expires_at: Mapped[datetime | None] = mapped_column("tokenExpiresAt", UtcTimestamp)
    status: Mapped[AccountStatus] = mapped_column(pg_enum(AccountStatus))
    connected_at: Mapped[datetime] = mapped_column("connectedAt", UtcTimestamp)
    last_sync_at: Mapped[datetime | None] = mapped_column("lastSyncAt", UtcTimestamp)
    details: Mapped[Any] = mapped_column("metadata", JSONB, nullable=True)
    token_version: Mapped[int | None] = mapped_column("tokenVersion", BigInteger)
    token_issued_at: Mapped[datetime | None] = mapped_column("tokenIssuedAt", UtcTimestamp)
    refresh_token_expires_at: Mapped[datetime | None] = mapped_column(
        "refreshTokenExpiresAt", UtcTimestamp
    )
    refresh_started_at: Mapped[datetime | None] = mapped_column("refreshStartedAt", UtcTimestamp)
    refreshed_at: Mapped[datetime | None] = mapped_column("refreshedAt", UtcTimestamp)
    refresh_failures: Mapped[int | None] = mapped_column("refreshFailures", Integer)
    refresh_next_at: Mapped[datetime | None] = mapped_column("refreshNextAt", UtcTimestamp)
    refresh_failed_at: Mapped[datetime | None] = mapped_column("refreshFailedAt", UtcTimestamp)
    refresh_outcome: Mapped[str | None] = mapped_column("refreshOutcome", Text)
    probed_at: Mapped[datetime | None] = mapped_column("probedAt", UtcTimestamp)
    probe_outcome: Mapped[str | None] = mapped_column("probeOutcome", Text)
    disconnected_at: Mapped[datetime | None] = mapped_column("disconnectedAt", UtcTimestamp)


class Content(Base):
    """A video and its texts. `filePath` is the S3 key, `duration` is in seconds."""

    __tablename__ = "contents"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[str] = mapped_column("userId", Text, ForeignKey("users.id"))
    title: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    file_path: Mapped[str | None] = mapped_column("filePath", Text)
    thumbnail_path: Mapped[str | None] = mapped_column("thumbnailPath", Text)
    file_size: Mapped[int | None] = mapped_column("fileSize", BigInteger)
    mime_type: Mapped[str | None] = mapped_column("mimeType", Text)
    duration: Mapped[int | None] = mapped_column(Integer)
    status: Mapped[ContentStatus] = mapped_column(pg_enum(ContentStatus))
    scheduled_at: Mapped[datetime | None] = mapped_column("scheduledAt", UtcTimestamp)
    published_at: Mapped[datetime | None] = mapped_column("publishedAt", UtcTimestamp)
    details: Mapped[Any] = mapped_column("metadata", JSONB, nullable=True)
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)
    updated_at: Mapped[datetime] = mapped_column("updatedAt", UtcTimestamp)
    deleted_at: Mapped[datetime | None] = mapped_column("deletedAt", UtcTimestamp)
    error_code: Mapped[str | None] = mapped_column("errorCode", Text)


class ScheduledJob(Base):
    """One wish to publish a content to some accounts at one instant."""

    __tablename__ = "scheduled_jobs"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    content_id: Mapped[str] = mapped_column("contentId", Text, ForeignKey("contents.id"))
    account_ids: Mapped[list[str] | None] = mapped_column("accountIds", ARRAY(Text))
    scheduled_at: Mapped[datetime] = mapped_column("scheduledAt", UtcTimestamp)
    timezone: Mapped[str] = mapped_column(Text)
    local_time: Mapped[str | None] = mapped_column("localTime", Text)
    priority: Mapped[JobPriority] = mapped_column(pg_enum(JobPriority))
    status: Mapped[JobStatus] = mapped_column(pg_enum(JobStatus))
    bull_job_id: Mapped[str | None] = mapped_column("bullJobId", Text)
    attempts: Mapped[int] = mapped_column(Integer)
    max_attempts: Mapped[int] = mapped_column("maxAttempts", Integer)
    error: Mapped[str | None] = mapped_column(Text)
    processed_at: Mapped[datetime | None] = mapped_column("processedAt", UtcTimestamp)
    completed_at: Mapped[datetime | None] = mapped_column("completedAt", UtcTimestamp)
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)
    updated_at: Mapped[datetime] = mapped_column("updatedAt", UtcTimestamp)


class Publication(Base):
    """One content on one account: the unit of work. `stage` is NULL only in rows of the old system."""

    __tablename__ = "publications"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    content_id: Mapped[str] = mapped_column("contentId", Text, ForeignKey("contents.id"))
    account_id: Mapped[str] = mapped_column("accountId", Text, ForeignKey("accounts.id"))
    platform: Mapped[Platform] = mapped_column(pg_enum(Platform))
    platform_post_id: Mapped[str | None] = mapped_column("platformPostId", Text)
    status: Mapped[PublicationStatus] = mapped_column(pg_enum(PublicationStatus))
    published_at: Mapped[datetime | None] = mapped_column("publishedAt", UtcTimestamp)
    metrics: Mapped[Any] = mapped_column(JSONB, nullable=True)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)
    updated_at: Mapped[datetime] = mapped_column("updatedAt", UtcTimestamp)
    scheduled_job_id: Mapped[str | None] = mapped_column(
        "scheduledJobId", Text, ForeignKey("scheduled_jobs.id")
    )
    stage: Mapped[str | None] = mapped_column(Text)
    due_at: Mapped[datetime | None] = mapped_column("dueAt", UtcTimestamp)
    prepare_at: Mapped[datetime | None] = mapped_column("prepareAt", UtcTimestamp)
    next_attempt_at: Mapped[datetime | None] = mapped_column("nextAttemptAt", UtcTimestamp)
    attempts: Mapped[int | None] = mapped_column(Integer)
    priority: Mapped[JobPriority | None] = mapped_column(pg_enum(JobPriority))
    options: Mapped[Any] = mapped_column(JSONB, nullable=True)
    revision: Mapped[int | None] = mapped_column(Integer)
    lease_owner: Mapped[str | None] = mapped_column("leaseOwner", Text)
    lease_expires_at: Mapped[datetime | None] = mapped_column("leaseExpiresAt", UtcTimestamp)
    lease_token: Mapped[int | None] = mapped_column("leaseToken", BigInteger)
    error_code: Mapped[str | None] = mapped_column("errorCode", Text)
    error_fix: Mapped[str | None] = mapped_column("errorFix", Text)
    hold_reason: Mapped[str | None] = mapped_column("holdReason", Text)
    max_lateness: Mapped[int | None] = mapped_column("maxLateness", Integer)
    committed_at: Mapped[datetime | None] = mapped_column("committedAt", UtcTimestamp)
    accepted_at: Mapped[datetime | None] = mapped_column("acceptedAt", UtcTimestamp)
    verified_at: Mapped[datetime | None] = mapped_column("verifiedAt", UtcTimestamp)
    rolled_back_at: Mapped[datetime | None] = mapped_column("rolledBackAt", UtcTimestamp)
    permalink: Mapped[str | None] = mapped_column(Text)
    confirm_polls: Mapped[int | None] = mapped_column("confirmPolls", Integer)


class VerificationToken(Base):
    """A single-use sign-in token (hashed)."""

    __tablename__ = "verification_tokens"

    identifier: Mapped[str] = mapped_column(Text)
    token: Mapped[str] = mapped_column(Text, primary_key=True)
    expires: Mapped[datetime] = mapped_column(UtcTimestamp)


class NotificationSubscription(Base):
    """A browser's push subscription."""

    __tablename__ = "notification_subscriptions"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[str] = mapped_column("userId", Text)
    endpoint: Mapped[str] = mapped_column(Text)
    p256dh: Mapped[str] = mapped_column(Text)
    auth: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)


class NotificationPreference(Base):
    """What a person wishes to be told; without a row the defaults hold (notifications.preferences)."""

    __tablename__ = "notification_preferences"

    user_id: Mapped[str] = mapped_column("userId", Text, primary_key=True)
    choices: Mapped[Any] = mapped_column(JSONB, nullable=False)
    timezone: Mapped[str] = mapped_column(Text)
    quiet_from: Mapped[time | None] = mapped_column("quietFrom", TIME(precision=0))
    quiet_to: Mapped[time | None] = mapped_column("quietTo", TIME(precision=0))
    urgent_passes: Mapped[bool] = mapped_column("urgentPasses", Boolean)
    reminder_minutes: Mapped[int] = mapped_column("reminderMinutes", Integer)
    updated_at: Mapped[datetime] = mapped_column("updatedAt", UtcTimestamp)

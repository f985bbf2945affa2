"""Tables of our own: the ledger, handles, posts, uploads, keys and the rest.

Attribute names are ours, column names are the schema's. Defaults of the database are not relied
on: every row says what it holds (CURRENT_TIMESTAMP would follow the connection's time zone).
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Float, ForeignKey, Identity, Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from minitik_dagster.db import observed, pasts  # noqa: F401 - tables of the same metadata
from minitik_dagster.db.models import Base
from minitik_dagster.db.types import Platform, UtcTimestamp, pg_enum


class Handle(Base):
    """What a platform gave before anything is public (engine.md R2); secrets are sealed."""

    __tablename__ = "handles"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    publication_id: Mapped[str] = mapped_column(
        "publicationId", Text, ForeignKey("publications.id")
    )
    account_id: Mapped[str] = mapped_column("accountId", Text)
    platform: Mapped[Platform] = mapped_column(pg_enum(Platform))
    state: Mapped[str] = mapped_column(Text)
    revision: Mapped[int] = mapped_column(Integer)
    external_id: Mapped[str | None] = mapped_column("externalId", Text)
    sealed: Mapped[str | None] = mapped_column(Text)
    progress: Mapped[Any] = mapped_column(JSONB, nullable=False)
    expires_at: Mapped[datetime | None] = mapped_column("expiresAt", UtcTimestamp)
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)
    updated_at: Mapped[datetime] = mapped_column("updatedAt", UtcTimestamp)


class PublicationStep(Base):
    """The ledger: one external step, written before and after it is taken."""

    __tablename__ = "publication_steps"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    publication_id: Mapped[str] = mapped_column(
        "publicationId", Text, ForeignKey("publications.id")
    )
    account_id: Mapped[str] = mapped_column("accountId", Text)
    platform: Mapped[Platform] = mapped_column(pg_enum(Platform))
    handle_id: Mapped[str | None] = mapped_column("handleId", Text, ForeignKey("handles.id"))
    name: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int] = mapped_column(Integer)
    can_publish: Mapped[bool] = mapped_column("canPublish", Boolean)
    lease_token: Mapped[int] = mapped_column("leaseToken", BigInteger)
    revision: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[datetime] = mapped_column("startedAt", UtcTimestamp)
    send_by: Mapped[datetime | None] = mapped_column("sendBy", UtcTimestamp)
    sent_at: Mapped[datetime | None] = mapped_column("sentAt", UtcTimestamp)
    ended_at: Mapped[datetime | None] = mapped_column("endedAt", UtcTimestamp)
    outcome: Mapped[str | None] = mapped_column(Text)
    platform_code: Mapped[str | None] = mapped_column("platformCode", Text)
    request_id: Mapped[str | None] = mapped_column("requestId", Text)
    policy_version: Mapped[str] = mapped_column("policyVersion", Text)
    detail: Mapped[Any] = mapped_column(JSONB, nullable=True)


class Post(Base):
    """A public post on a platform; a TikTok publication may have several."""

    __tablename__ = "posts"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    publication_id: Mapped[str] = mapped_column(
        "publicationId", Text, ForeignKey("publications.id")
    )
    account_id: Mapped[str] = mapped_column("accountId", Text)
    platform: Mapped[Platform] = mapped_column(pg_enum(Platform))
    platform_post_id: Mapped[str] = mapped_column("platformPostId", Text)
    permalink: Mapped[str | None] = mapped_column(Text)
    via: Mapped[str] = mapped_column(Text)
    found_at: Mapped[datetime] = mapped_column("foundAt", UtcTimestamp)


class DeadLetter(Base):
    """A final failure with its whole story."""

    __tablename__ = "dead_letters"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    publication_id: Mapped[str] = mapped_column(
        "publicationId", Text, ForeignKey("publications.id")
    )
    content_id: Mapped[str] = mapped_column("contentId", Text)
    account_id: Mapped[str] = mapped_column("accountId", Text)
    platform: Mapped[Platform] = mapped_column(pg_enum(Platform))
    code: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    fix: Mapped[str] = mapped_column(Text)
    story: Mapped[Any] = mapped_column(JSONB, nullable=False)
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)
    resolved_at: Mapped[datetime | None] = mapped_column("resolvedAt", UtcTimestamp)
    resolution: Mapped[str | None] = mapped_column(Text)


class UploadSession(Base):
    """One multipart upload."""

    __tablename__ = "upload_sessions"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    content_id: Mapped[str] = mapped_column("contentId", Text)
    user_id: Mapped[str] = mapped_column("userId", Text)
    s3_key: Mapped[str] = mapped_column("s3Key", Text)
    s3_upload_id: Mapped[str] = mapped_column("s3UploadId", Text)
    filename: Mapped[str] = mapped_column(Text)
    mime_type: Mapped[str] = mapped_column("mimeType", Text)
    file_size: Mapped[int] = mapped_column("fileSize", BigInteger)
    chunk_size: Mapped[int] = mapped_column("chunkSize", Integer)
    total_chunks: Mapped[int] = mapped_column("totalChunks", Integer)
    status: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)
    updated_at: Mapped[datetime] = mapped_column("updatedAt", UtcTimestamp)
    expires_at: Mapped[datetime] = mapped_column("expiresAt", UtcTimestamp)


class UploadPart(Base):
    """A part the client says it has sent."""

    __tablename__ = "upload_parts"

    upload_session_id: Mapped[str] = mapped_column(
        "uploadSessionId", Text, ForeignKey("upload_sessions.id"), primary_key=True
    )
    part_number: Mapped[int] = mapped_column("partNumber", Integer, primary_key=True)
    etag: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int | None] = mapped_column(BigInteger)
    confirmed_at: Mapped[datetime] = mapped_column("confirmedAt", UtcTimestamp)


class ApiKey(Base):
    """A program's key, hashed."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[str] = mapped_column("userId", Text)
    name: Mapped[str] = mapped_column(Text)
    key_hash: Mapped[str] = mapped_column("keyHash", Text)
    prefix: Mapped[str] = mapped_column(Text)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)
    expires_at: Mapped[datetime | None] = mapped_column("expiresAt", UtcTimestamp)
    last_used_at: Mapped[datetime | None] = mapped_column("lastUsedAt", UtcTimestamp)
    revoked_at: Mapped[datetime | None] = mapped_column("revokedAt", UtcTimestamp)


class OAuthState(Base):
    """A connection flow that has begun."""

    __tablename__ = "oauth_states"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    state_hash: Mapped[str] = mapped_column("stateHash", Text)
    user_id: Mapped[str] = mapped_column("userId", Text)
    provider: Mapped[str] = mapped_column(Text)
    code_verifier: Mapped[str | None] = mapped_column("codeVerifier", Text)
    redirect_uri: Mapped[str] = mapped_column("redirectUri", Text)
    session_hash: Mapped[str | None] = mapped_column("sessionHash", Text)
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)
    expires_at: Mapped[datetime] = mapped_column("expiresAt", UtcTimestamp)
    consumed_at: Mapped[datetime | None] = mapped_column("consumedAt", UtcTimestamp)
    account_id: Mapped[str | None] = mapped_column("accountId", Text)


class Attempt(Base):
    """How often a client tried to sign in or to connect within a window."""

    __tablename__ = "attempts"

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    client: Mapped[str] = mapped_column(Text, primary_key=True)
    window_start: Mapped[datetime] = mapped_column("windowStart", UtcTimestamp, primary_key=True)
    used: Mapped[int] = mapped_column(Integer)


class InboundEvent(Base):
    """What a platform told us, once per signed body; its payload holds ids and no secrets."""

    __tablename__ = "inbound_events"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    platform: Mapped[Platform] = mapped_column(pg_enum(Platform))
    event: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Text)
    payload: Mapped[Any] = mapped_column(JSONB, nullable=False)
    received_at: Mapped[datetime] = mapped_column("receivedAt", UtcTimestamp)
    handled_at: Mapped[datetime | None] = mapped_column("handledAt", UtcTimestamp)
    outcome: Mapped[str | None] = mapped_column(Text)


class Alert(Base):
    """A threshold that was crossed."""

    __tablename__ = "alerts"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text)
    level: Mapped[str] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Text)
    detail: Mapped[Any] = mapped_column(JSONB, nullable=True)
    opened_at: Mapped[datetime] = mapped_column("openedAt", UtcTimestamp)
    last_seen_at: Mapped[datetime] = mapped_column("lastSeenAt", UtcTimestamp)
    resolved_at: Mapped[datetime | None] = mapped_column("resolvedAt", UtcTimestamp)
    notified_at: Mapped[datetime | None] = mapped_column("notifiedAt", UtcTimestamp)
    notified_level: Mapped[str | None] = mapped_column("notifiedLevel", Text)


class DrainedPublication(Base):
    """A publication that an operator drained, as it stood before."""

    __tablename__ = "drained_publications"

    batch_id: Mapped[str] = mapped_column("batchId", Text, primary_key=True)
    publication_id: Mapped[str] = mapped_column(
        "publicationId", Text, ForeignKey("publications.id"), primary_key=True
    )
    stage: Mapped[str] = mapped_column(Text)
    hold_reason: Mapped[str | None] = mapped_column("holdReason", Text)
    revision: Mapped[int] = mapped_column(Integer)
    drained_at: Mapped[datetime] = mapped_column("drainedAt", UtcTimestamp)
    restored_at: Mapped[datetime | None] = mapped_column("restoredAt", UtcTimestamp)


class Dispatcher(Base):
    """A running or past dispatcher and what it did."""

    __tablename__ = "dispatchers"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    run_id: Mapped[str | None] = mapped_column("runId", Text)
    instance: Mapped[str] = mapped_column(Text)
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[datetime] = mapped_column("startedAt", UtcTimestamp)
    heartbeat_at: Mapped[datetime] = mapped_column("heartbeatAt", UtcTimestamp)
    window_ends_at: Mapped[datetime | None] = mapped_column("windowEndsAt", UtcTimestamp)
    ended_at: Mapped[datetime | None] = mapped_column("endedAt", UtcTimestamp)
    skew_ms: Mapped[float | None] = mapped_column("skewMs", Float(53))
    summary: Mapped[Any] = mapped_column(JSONB, nullable=True)


class IdempotencyKey(Base):
    """A POST that was already answered."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[str] = mapped_column("userId", Text, primary_key=True)
    route: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    body_hash: Mapped[str] = mapped_column("bodyHash", Text)
    status: Mapped[int | None] = mapped_column(Integer)
    created: Mapped[Any] = mapped_column(JSONB, nullable=True)
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)
    expires_at: Mapped[datetime] = mapped_column("expiresAt", UtcTimestamp)


class OutboxMessage(Base):
    """A side effect to carry out after commit."""

    __tablename__ = "outbox"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    payload: Mapped[Any] = mapped_column(JSONB, nullable=False)
    due_at: Mapped[datetime] = mapped_column("dueAt", UtcTimestamp)
    attempts: Mapped[int] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)
    done_at: Mapped[datetime | None] = mapped_column("doneAt", UtcTimestamp)


class AuditEntry(Base):
    """Who did what."""

    __tablename__ = "audit_log"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcTimestamp)
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    detail: Mapped[Any] = mapped_column(JSONB, nullable=True)


class SettingRow(Base):
    """Facts of this database: world, instance, flags."""

    __tablename__ = "settings"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[Any] = mapped_column(JSONB, nullable=False)
    updated_at: Mapped[datetime] = mapped_column("updatedAt", UtcTimestamp)


class Event(Base):
    """Something that happened to a user's posts, accounts or contents; kept for a day."""

    __tablename__ = "events"

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[str] = mapped_column("userId", Text)
    type: Mapped[str] = mapped_column(Text)
    data: Mapped[Any] = mapped_column(JSONB, nullable=False)
    at: Mapped[datetime] = mapped_column(UtcTimestamp)
    xact: Mapped[int] = mapped_column(BigInteger)


class Webhook(Base):
    """Where a user's events are sent; the secret is sealed."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[str] = mapped_column("userId", Text)
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    secret: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)
    updated_at: Mapped[datetime] = mapped_column("updatedAt", UtcTimestamp)
    failing_since: Mapped[datetime | None] = mapped_column("failingSince", UtcTimestamp)
    disabled_at: Mapped[datetime | None] = mapped_column("disabledAt", UtcTimestamp)
    disabled_reason: Mapped[str | None] = mapped_column("disabledReason", Text)


class WebhookDelivery(Base):
    """One event for one webhook: waiting, delivered, or dead after a day of trying."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    webhook_id: Mapped[str] = mapped_column(
        "webhookId", Text, ForeignKey("webhooks.id", ondelete="CASCADE")
    )
    type: Mapped[str] = mapped_column(Text)
    data: Mapped[Any] = mapped_column(JSONB, nullable=False)
    at: Mapped[datetime] = mapped_column(UtcTimestamp)
    state: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)
    since: Mapped[datetime] = mapped_column(UtcTimestamp)
    due_at: Mapped[datetime] = mapped_column("dueAt", UtcTimestamp)
    leased_until: Mapped[datetime | None] = mapped_column("leasedUntil", UtcTimestamp)
    status_code: Mapped[int | None] = mapped_column("statusCode", Integer)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)
    done_at: Mapped[datetime | None] = mapped_column("doneAt", UtcTimestamp)


class WebhookAttempt(Base):
    """One try of a delivery, and what came of it."""

    __tablename__ = "webhook_attempts"

    delivery_id: Mapped[str] = mapped_column(
        "deliveryId",
        Text,
        ForeignKey("webhook_deliveries.id", ondelete="CASCADE"),
        primary_key=True,
    )
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcTimestamp)
    status_code: Mapped[int | None] = mapped_column("statusCode", Integer)
    duration_ms: Mapped[int] = mapped_column("durationMs", Integer)
    answer: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)


class AnalyticsExport(Base):
    """A person's wish for a file of their numbers, and where it lies."""

    __tablename__ = "analytics_exports"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[str] = mapped_column("userId", Text)
    format: Mapped[str] = mapped_column(Text)
    range: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    s3_key: Mapped[str | None] = mapped_column("s3Key", Text)
    rows: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column("createdAt", UtcTimestamp)
    started_at: Mapped[datetime | None] = mapped_column("startedAt", UtcTimestamp)
    finished_at: Mapped[datetime | None] = mapped_column("finishedAt", UtcTimestamp)

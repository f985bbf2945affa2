"""What this system adds: nullable columns on two old tables, and tables of its own.

No old row is rewritten: columns with a constant default are added without touching rows
(PostgreSQL documentation, "ALTER TABLE", notes). Our tables reference publications without
cascade, so a row that has history cannot be deleted under it.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PUBLICATION_COLUMNS = {
    "scheduledJobId": "TEXT REFERENCES scheduled_jobs(id)",
    "stage": "TEXT",
    "dueAt": "TIMESTAMP(3)",
    "prepareAt": "TIMESTAMP(3)",
    "nextAttemptAt": "TIMESTAMP(3)",
    "attempts": "INTEGER DEFAULT 0",
    "priority": "\"JobPriority\" DEFAULT 'NORMAL'",
    "options": "JSONB",
    "revision": "INTEGER DEFAULT 0",
    "leaseOwner": "TEXT",
    "leaseExpiresAt": "TIMESTAMP(3)",
    "leaseToken": "BIGINT DEFAULT 0",
    "errorCode": "TEXT",
    "errorFix": "TEXT",
    "holdReason": "TEXT",
    "maxLateness": "INTEGER",
    "committedAt": "TIMESTAMP(3)",
    "acceptedAt": "TIMESTAMP(3)",
    "verifiedAt": "TIMESTAMP(3)",
    "rolledBackAt": "TIMESTAMP(3)",
    "permalink": "TEXT",
    "confirmPolls": "INTEGER DEFAULT 0",
}

STAGES = (
    "scheduled", "preparing", "prepared", "committing", "confirming", "live", "unknown", "review",
    "held", "parked", "paused", "failed", "cancelled", "removed",
)  # fmt: skip

TABLES = (
    """CREATE TABLE handles (
        id TEXT PRIMARY KEY,
        "publicationId" TEXT NOT NULL REFERENCES publications(id),
        "accountId" TEXT NOT NULL,
        platform "Platform" NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('active','used','dropped','dead')),
        revision INTEGER NOT NULL,
        "externalId" TEXT,
        sealed TEXT,
        progress JSONB NOT NULL,
        "expiresAt" TIMESTAMP(3),
        "createdAt" TIMESTAMP(3) NOT NULL,
        "updatedAt" TIMESTAMP(3) NOT NULL
    )""",
    """CREATE UNIQUE INDEX handles_one_active ON handles ("publicationId")
        WHERE state = 'active'""",
    """CREATE INDEX "handles_publicationId_idx" ON handles ("publicationId")""",
    """CREATE TABLE publication_steps (
        id TEXT PRIMARY KEY,
        "publicationId" TEXT NOT NULL REFERENCES publications(id),
        "accountId" TEXT NOT NULL,
        platform "Platform" NOT NULL,
        "handleId" TEXT REFERENCES handles(id),
        name TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        "canPublish" BOOLEAN NOT NULL,
        "leaseToken" BIGINT NOT NULL,
        revision INTEGER NOT NULL,
        "startedAt" TIMESTAMP(3) NOT NULL,
        "sendBy" TIMESTAMP(3),
        "sentAt" TIMESTAMP(3),
        "endedAt" TIMESTAMP(3),
        outcome TEXT CHECK (outcome IN ('ok','transient','throttled','auth_expired','revoked',
            'rejected','handle_dead','unknown','not_sent','not_published','lost')),
        "platformCode" TEXT,
        "requestId" TEXT,
        "policyVersion" TEXT NOT NULL,
        detail JSONB
    )""",
    """CREATE INDEX "publication_steps_publicationId_idx"
        ON publication_steps ("publicationId", "startedAt")""",
    # engine.md R5: the guarantees stand in the database, not in the programs.
    """CREATE UNIQUE INDEX steps_one_open_commit ON publication_steps ("publicationId")
        WHERE "canPublish" AND "endedAt" IS NULL""",
    """CREATE UNIQUE INDEX steps_one_success ON publication_steps ("publicationId")
        WHERE "canPublish" AND outcome = 'ok'""",
    """CREATE UNIQUE INDEX steps_one_open_commit_per_instagram_account
        ON publication_steps ("accountId")
        WHERE "canPublish" AND "endedAt" IS NULL AND platform = 'INSTAGRAM'""",
    """CREATE TABLE posts (
        id TEXT PRIMARY KEY,
        "publicationId" TEXT NOT NULL REFERENCES publications(id),
        "accountId" TEXT NOT NULL,
        platform "Platform" NOT NULL,
        "platformPostId" TEXT NOT NULL,
        permalink TEXT,
        via TEXT NOT NULL CHECK (via IN ('commit','reconciler','confirm','operator','safety_net')),
        "foundAt" TIMESTAMP(3) NOT NULL
    )""",
    """CREATE UNIQUE INDEX posts_one_owner ON posts ("accountId", "platformPostId")""",
    """CREATE INDEX "posts_publicationId_idx" ON posts ("publicationId")""",
    """CREATE TABLE dead_letters (
        id TEXT PRIMARY KEY,
        "publicationId" TEXT NOT NULL REFERENCES publications(id),
        "contentId" TEXT NOT NULL,
        "accountId" TEXT NOT NULL,
        platform "Platform" NOT NULL,
        code TEXT NOT NULL,
        reason TEXT NOT NULL,
        fix TEXT NOT NULL,
        story JSONB NOT NULL,
        "createdAt" TIMESTAMP(3) NOT NULL,
        "resolvedAt" TIMESTAMP(3),
        resolution TEXT
    )""",
    """CREATE INDEX "dead_letters_open_idx" ON dead_letters ("createdAt")
        WHERE "resolvedAt" IS NULL""",
    """CREATE TABLE upload_sessions (
        id TEXT PRIMARY KEY,
        "contentId" TEXT NOT NULL,
        "userId" TEXT NOT NULL,
        "s3Key" TEXT NOT NULL,
        "s3UploadId" TEXT NOT NULL,
        filename TEXT NOT NULL,
        "mimeType" TEXT NOT NULL,
        "fileSize" BIGINT NOT NULL,
        "chunkSize" INTEGER NOT NULL,
        "totalChunks" INTEGER NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('open','completing','completed','aborted','expired')),
        "createdAt" TIMESTAMP(3) NOT NULL,
        "updatedAt" TIMESTAMP(3) NOT NULL,
        "expiresAt" TIMESTAMP(3) NOT NULL
    )""",
    """CREATE UNIQUE INDEX upload_sessions_one_open ON upload_sessions ("contentId")
        WHERE status IN ('open','completing')""",
    """CREATE INDEX "upload_sessions_userId_idx" ON upload_sessions ("userId")""",
    """CREATE TABLE upload_parts (
        "uploadSessionId" TEXT NOT NULL REFERENCES upload_sessions(id) ON DELETE CASCADE,
        "partNumber" INTEGER NOT NULL,
        etag TEXT,
        size BIGINT,
        "confirmedAt" TIMESTAMP(3) NOT NULL,
        PRIMARY KEY ("uploadSessionId", "partNumber")
    )""",
    """CREATE TABLE api_keys (
        id TEXT PRIMARY KEY,
        "userId" TEXT NOT NULL,
        name TEXT NOT NULL,
        "keyHash" TEXT NOT NULL UNIQUE,
        prefix TEXT NOT NULL,
        scopes TEXT[] NOT NULL,
        "createdAt" TIMESTAMP(3) NOT NULL,
        "expiresAt" TIMESTAMP(3),
        "lastUsedAt" TIMESTAMP(3),
        "revokedAt" TIMESTAMP(3)
    )""",
    """CREATE INDEX "api_keys_userId_idx" ON api_keys ("userId")""",
    """CREATE TABLE oauth_states (
        id TEXT PRIMARY KEY,
        "stateHash" TEXT NOT NULL UNIQUE,
        "userId" TEXT NOT NULL,
        provider TEXT NOT NULL,
        "codeVerifier" TEXT,
        "redirectUri" TEXT NOT NULL,
        "sessionHash" TEXT,
        "createdAt" TIMESTAMP(3) NOT NULL,
        "expiresAt" TIMESTAMP(3) NOT NULL,
        "consumedAt" TIMESTAMP(3)
    )""",
    """CREATE TABLE alerts (
        id TEXT PRIMARY KEY,
        key TEXT NOT NULL,
        level TEXT NOT NULL CHECK (level IN ('warning','critical')),
        message TEXT NOT NULL,
        detail JSONB,
        "openedAt" TIMESTAMP(3) NOT NULL,
        "lastSeenAt" TIMESTAMP(3) NOT NULL,
        "resolvedAt" TIMESTAMP(3)
    )""",
    """CREATE UNIQUE INDEX alerts_one_open ON alerts (key) WHERE "resolvedAt" IS NULL""",
    """CREATE TABLE dispatchers (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL CHECK (kind IN ('dagster','resident')),
        "runId" TEXT,
        instance TEXT NOT NULL,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        "startedAt" TIMESTAMP(3) NOT NULL,
        "heartbeatAt" TIMESTAMP(3) NOT NULL,
        "windowEndsAt" TIMESTAMP(3),
        "endedAt" TIMESTAMP(3),
        "skewMs" DOUBLE PRECISION,
        summary JSONB
    )""",
    """CREATE INDEX dispatchers_live_idx ON dispatchers ("heartbeatAt") WHERE "endedAt" IS NULL""",
    """CREATE TABLE idempotency_keys (
        "userId" TEXT NOT NULL,
        route TEXT NOT NULL,
        key TEXT NOT NULL,
        "bodyHash" TEXT NOT NULL,
        status INTEGER,
        created JSONB,
        "createdAt" TIMESTAMP(3) NOT NULL,
        "expiresAt" TIMESTAMP(3) NOT NULL,
        PRIMARY KEY ("userId", route, key)
    )""",
    """CREATE TABLE outbox (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        payload JSONB NOT NULL,
        "dueAt" TIMESTAMP(3) NOT NULL,
        attempts INTEGER NOT NULL,
        error TEXT,
        "createdAt" TIMESTAMP(3) NOT NULL,
        "doneAt" TIMESTAMP(3)
    )""",
    """CREATE INDEX outbox_due_idx ON outbox ("dueAt") WHERE "doneAt" IS NULL""",
    """CREATE TABLE audit_log (
        id TEXT PRIMARY KEY,
        at TIMESTAMP(3) NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        subject TEXT NOT NULL,
        detail JSONB
    )""",
    """CREATE INDEX audit_log_at_idx ON audit_log (at)""",
    """CREATE TABLE settings (
        key TEXT PRIMARY KEY,
        value JSONB NOT NULL,
        "updatedAt" TIMESTAMP(3) NOT NULL
    )""",
)

NAMES = (
    "settings", "audit_log", "outbox", "idempotency_keys", "dispatchers", "alerts", "oauth_states",
    "api_keys", "upload_parts", "upload_sessions", "dead_letters", "posts", "publication_steps",
    "handles",
)  # fmt: skip


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    columns = ", ".join(f'ADD COLUMN "{name}" {kind}' for name, kind in PUBLICATION_COLUMNS.items())
    op.execute(f"ALTER TABLE publications {columns}")
    stages = ", ".join(f"'{stage}'" for stage in STAGES)
    op.execute(
        "ALTER TABLE publications ADD CONSTRAINT publications_stage_check "
        f"CHECK (stage IN ({stages})) NOT VALID"
    )
    op.execute(
        'ALTER TABLE contents ADD COLUMN "deletedAt" TIMESTAMP(3), ADD COLUMN "errorCode" TEXT'
    )
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    for name in NAMES:
        op.execute(f"DROP TABLE {name}")
    op.execute('ALTER TABLE contents DROP COLUMN "deletedAt", DROP COLUMN "errorCode"')
    op.execute("ALTER TABLE publications DROP CONSTRAINT publications_stage_check")
    columns = ", ".join(f'DROP COLUMN "{name}"' for name in PUBLICATION_COLUMNS)
    op.execute(f"ALTER TABLE publications {columns}")

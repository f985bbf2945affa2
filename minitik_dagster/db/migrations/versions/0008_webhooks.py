"""What happened, told to programs: events, webhooks, their deliveries and each attempt. Additive.

Revision ID: 0008
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = (
    # `xact` is the writing transaction: readers know by it what may still appear below what they saw.
    """CREATE TABLE events (
        seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        "userId" TEXT NOT NULL,
        type TEXT NOT NULL,
        data JSONB NOT NULL,
        at TIMESTAMP(3) NOT NULL,
        xact BIGINT NOT NULL
    )""",
    """CREATE INDEX events_xact_idx ON events (xact)""",
    """CREATE INDEX "events_userId_idx" ON events ("userId", xact)""",
    """CREATE TABLE webhooks (
        id TEXT PRIMARY KEY,
        "userId" TEXT NOT NULL,
        url TEXT NOT NULL,
        description TEXT,
        events TEXT[] NOT NULL,
        secret TEXT NOT NULL,
        "createdAt" TIMESTAMP(3) NOT NULL,
        "updatedAt" TIMESTAMP(3) NOT NULL,
        "failingSince" TIMESTAMP(3),
        "disabledAt" TIMESTAMP(3),
        "disabledReason" TEXT
    )""",
    """CREATE INDEX "webhooks_userId_idx" ON webhooks ("userId")""",
    """CREATE TABLE webhook_deliveries (
        id TEXT PRIMARY KEY,
        "webhookId" TEXT NOT NULL REFERENCES webhooks(id) ON DELETE CASCADE,
        type TEXT NOT NULL,
        data JSONB NOT NULL,
        at TIMESTAMP(3) NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('waiting','delivered','dead')),
        attempts INTEGER NOT NULL,
        since TIMESTAMP(3) NOT NULL,
        "dueAt" TIMESTAMP(3) NOT NULL,
        "leasedUntil" TIMESTAMP(3),
        "statusCode" INTEGER,
        error TEXT,
        "createdAt" TIMESTAMP(3) NOT NULL,
        "doneAt" TIMESTAMP(3)
    )""",
    """CREATE INDEX webhook_deliveries_due_idx ON webhook_deliveries ("webhookId", "dueAt")
        WHERE state = 'waiting'""",
    """CREATE INDEX "webhook_deliveries_webhookId_idx"
        ON webhook_deliveries ("webhookId", "createdAt")""",
    """CREATE INDEX webhook_deliveries_done_idx ON webhook_deliveries ("doneAt")
        WHERE "doneAt" IS NOT NULL""",
    """CREATE TABLE webhook_attempts (
        "deliveryId" TEXT NOT NULL REFERENCES webhook_deliveries(id) ON DELETE CASCADE,
        attempt INTEGER NOT NULL,
        at TIMESTAMP(3) NOT NULL,
        "statusCode" INTEGER,
        "durationMs" INTEGER NOT NULL,
        answer TEXT,
        error TEXT,
        PRIMARY KEY ("deliveryId", attempt)
    )""",
)

NAMES = ("webhook_attempts", "webhook_deliveries", "webhooks", "events")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    for name in NAMES:
        op.execute(f"DROP TABLE {name}")

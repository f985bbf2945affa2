"""What accounts, people and inbound events need to be kept connected: additive, all nullable.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ACCOUNT_COLUMNS = {
    # Rises with every stored token: the compare-and-swap of refreshes, reconnects and key rotation.
    "tokenVersion": "BIGINT",
    "tokenIssuedAt": "TIMESTAMP(3)",
    "refreshTokenExpiresAt": "TIMESTAMP(3)",
    # Written before the call to the platform and cleared with its answer: one that stays shows the
    # crash between answer and write.
    "refreshStartedAt": "TIMESTAMP(3)",
    "refreshedAt": "TIMESTAMP(3)",
    "refreshFailures": "INTEGER",
    "refreshNextAt": "TIMESTAMP(3)",
    "refreshOutcome": "TEXT",
    "probedAt": "TIMESTAMP(3)",
    "probeOutcome": "TEXT",
    "disconnectedAt": "TIMESTAMP(3)",
}

TABLES = (
    # Sign-in and OAuth attempts, counted here and not in Redis: these limits must not open.
    """CREATE TABLE attempts (
        kind TEXT NOT NULL,
        client TEXT NOT NULL,
        "windowStart" TIMESTAMP(3) NOT NULL,
        used INTEGER NOT NULL,
        PRIMARY KEY (kind, client, "windowStart")
    )""",
    # What platforms send us comes at least once: the digest of the signed body is its identity.
    """CREATE TABLE inbound_events (
        id TEXT PRIMARY KEY,
        platform "Platform" NOT NULL,
        event TEXT NOT NULL,
        digest TEXT NOT NULL UNIQUE,
        payload JSONB NOT NULL,
        "receivedAt" TIMESTAMP(3) NOT NULL,
        "handledAt" TIMESTAMP(3),
        outcome TEXT
    )""",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    columns = ", ".join(f'ADD COLUMN "{name}" {kind}' for name, kind in ACCOUNT_COLUMNS.items())
    op.execute(f"ALTER TABLE accounts {columns}")
    op.execute('ALTER TABLE users ADD COLUMN "deletedAt" TIMESTAMP(3)')
    op.execute('ALTER TABLE oauth_states ADD COLUMN "accountId" TEXT')
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("DROP TABLE inbound_events")
    op.execute("DROP TABLE attempts")
    op.execute('ALTER TABLE oauth_states DROP COLUMN "accountId"')
    op.execute('ALTER TABLE users DROP COLUMN "deletedAt"')
    columns = ", ".join(f'DROP COLUMN "{name}"' for name in ACCOUNT_COLUMNS)
    op.execute(f"ALTER TABLE accounts {columns}")

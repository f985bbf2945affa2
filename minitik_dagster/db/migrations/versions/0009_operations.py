"""What operators need: drains that can be undone, notified alerts, and indexes for the figures.

Revision ID: 0009
"""

from alembic import op

from minitik_dagster.db.migrations.concurrent import build, drop

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

COLUMNS = (
    # What of an alert its readers were told last, and when: a change is told once, then by a schedule.
    ("alerts", "notifiedAt", "TIMESTAMP(3)"),
    ("alerts", "notifiedLevel", "TEXT"),
    # Failures of one hour are counted: `refreshFailures` counts those in a row, whenever they were.
    ("accounts", "refreshFailedAt", "TIMESTAMP(3)"),
)

# A drained publication as it stood, so that a restore can put it back and nothing else.
DRAINS = """
CREATE TABLE IF NOT EXISTS drained_publications (
    "batchId" TEXT NOT NULL,
    "publicationId" TEXT NOT NULL REFERENCES publications(id),
    stage TEXT NOT NULL,
    "holdReason" TEXT,
    revision INTEGER NOT NULL,
    "drainedAt" TIMESTAMP(3) NOT NULL,
    "restoredAt" TIMESTAMP(3),
    PRIMARY KEY ("batchId", "publicationId")
)
"""

INDEXES = {
    "publication_steps_ended": (
        'INDEX CONCURRENTLY {name} ON publication_steps ("endedAt") WHERE "endedAt" IS NOT NULL'
    ),
    "dead_letters_created": 'INDEX CONCURRENTLY {name} ON dead_letters ("createdAt")',
    # What is due next, over all accounts: the forecast's question.
    "publications_due": (
        'INDEX CONCURRENTLY {name} ON publications ("dueAt") '
        "WHERE stage IN ('scheduled','preparing','prepared','parked','paused','held')"
    ),
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    # Resumable: the indexes below are built outside of this transaction.
    for table, name, kind in COLUMNS:
        op.execute(f'ALTER TABLE {table} ADD COLUMN IF NOT EXISTS "{name}" {kind}')
    op.execute(DRAINS)
    build(INDEXES)


def downgrade() -> None:
    drop(INDEXES)
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("DROP TABLE IF EXISTS drained_publications")
    for table, name, _ in COLUMNS:
        op.execute(f'ALTER TABLE {table} DROP COLUMN IF EXISTS "{name}"')

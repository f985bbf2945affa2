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


def _one_by_one(statements: list[str]) -> None:
    """Run each in a transaction of its own, so that only one table is locked at a time.

    A claim locks publications and then reads accounts: a migration that held both in another order
    would deadlock with it. Each statement may be repeated, so an interrupted run can be resumed.
    """
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '10s'")
        for statement in statements:
            op.execute(statement)
        op.execute("RESET lock_timeout")


def upgrade() -> None:
    columns = [
        f'ALTER TABLE {table} ADD COLUMN IF NOT EXISTS "{name}" {kind}'
        for table, name, kind in COLUMNS
    ]
    _one_by_one([*columns, DRAINS])
    build(INDEXES)


def downgrade() -> None:
    drop(INDEXES)
    columns = [f'ALTER TABLE {table} DROP COLUMN IF EXISTS "{name}"' for table, name, _ in COLUMNS]
    _one_by_one(["DROP TABLE IF EXISTS drained_publications", *columns])

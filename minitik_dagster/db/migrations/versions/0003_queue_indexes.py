"""Indexes on the old system's tables, built CONCURRENTLY: writers are never blocked.

A build that was interrupted leaves an invalid index; it is dropped and built again, so this step
can be resumed (PostgreSQL documentation, "CREATE INDEX", building indexes concurrently).

Revision ID: 0003
"""

from alembic import op
from sqlalchemy import text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = {
    # The claim and the due query: only rows that can be claimed are in it, so it stays small
    # whatever the history's size.
    "publications_claimable": (
        'INDEX CONCURRENTLY {name} ON publications ((COALESCE("nextAttemptAt", "prepareAt"))) '
        "WHERE stage IN "
        "('scheduled','preparing','prepared','parked','committing','confirming','unknown') "
        "OR (stage = 'live' AND \"nextAttemptAt\" IS NOT NULL)"
    ),
    "publications_leased": (
        'INDEX CONCURRENTLY {name} ON publications ("leaseOwner") WHERE "leaseOwner" IS NOT NULL'
    ),
    "publications_one_per_account": (
        'UNIQUE INDEX CONCURRENTLY {name} ON publications ("scheduledJobId", "accountId")'
    ),
    "publications_committed": (
        'INDEX CONCURRENTLY {name} ON publications ("committedAt") WHERE "committedAt" IS NOT NULL'
    ),
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, definition in INDEXES.items():
            create = f"CREATE {definition.format(name=name)}"
            if op.get_context().as_sql:
                op.execute(create)
                continue
            valid = op.get_bind().execute(
                text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"),
                {"name": name},
            )
            state = valid.scalar_one_or_none()
            if state is False:
                op.execute(f"DROP INDEX CONCURRENTLY {name}")
            if not state:
                op.execute(create)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name in INDEXES:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")

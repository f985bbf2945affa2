"""The queue's indexes on the old system's tables.

Revision ID: 0003
"""

from minitik_dagster.db.migrations.concurrent import build, drop

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
    build(INDEXES)


def downgrade() -> None:
    drop(INDEXES)

"""The wall time that was asked for, beside the instant it was worked out to: additive, nullable.

Revision ID: 0006
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    # NULL in older rows: there only the instant and the zone are known.
    op.execute('ALTER TABLE scheduled_jobs ADD COLUMN "localTime" TEXT')


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute('ALTER TABLE scheduled_jobs DROP COLUMN "localTime"')

"""An export whose file was removed says so.

Revision ID: 0014
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

NAME, TABLE = "analytics_exports_status", "analytics_exports"


def upgrade() -> None:
    op.drop_constraint(NAME, TABLE)
    op.create_check_constraint(
        NAME, TABLE, "status IN ('pending', 'running', 'ready', 'failed', 'expired')"
    )


def downgrade() -> None:
    # Of the states that are left, `failed` is the one without a file.
    op.execute("UPDATE analytics_exports SET status = 'failed' WHERE status = 'expired'")
    op.drop_constraint(NAME, TABLE)
    op.create_check_constraint(NAME, TABLE, "status IN ('pending', 'running', 'ready', 'failed')")

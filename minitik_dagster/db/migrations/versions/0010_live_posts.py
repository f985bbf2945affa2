"""Analytics: which live posts are due for a reading, and the exports that people asked for.

Revision ID: 0010
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

from minitik_dagster.db.migrations.concurrent import build, drop

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

INDEXES = {
    "publications_live_since": (
        'INDEX CONCURRENTLY {name} ON publications (COALESCE("acceptedAt", "publishedAt")) '
        "WHERE stage = 'live'"
    ),
}


def upgrade() -> None:
    op.create_table(
        "analytics_exports",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("userId", sa.Text, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("range", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("s3Key", sa.Text),
        sa.Column("rows", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("createdAt", TIMESTAMP(precision=3), nullable=False),
        sa.Column("startedAt", TIMESTAMP(precision=3)),
        sa.Column("finishedAt", TIMESTAMP(precision=3)),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'ready', 'failed')", name="analytics_exports_status"
        ),
        sa.CheckConstraint("format IN ('csv', 'json')", name="analytics_exports_format"),
    )
    op.create_index("analytics_exports_user", "analytics_exports", ["userId"])
    build(INDEXES)


def downgrade() -> None:
    drop(INDEXES)
    op.drop_table("analytics_exports")

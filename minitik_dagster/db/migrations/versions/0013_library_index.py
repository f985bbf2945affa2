"""A page of one person's library, newest first, without walking through everybody's contents.

Revision ID: 0013
"""

from minitik_dagster.db.migrations.concurrent import build, drop

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

INDEXES = {
    "contents_library": (
        'INDEX CONCURRENTLY {name} ON contents ("userId", "createdAt", id) WHERE "deletedAt" IS NULL'
    ),
}


def upgrade() -> None:
    build(INDEXES)


def downgrade() -> None:
    drop(INDEXES)

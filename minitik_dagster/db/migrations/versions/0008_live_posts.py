"""Which live posts are due for a reading, without reading all that ever went live.

Revision ID: 0008
"""

from minitik_dagster.db.migrations.concurrent import build, drop

revision = "0008"
down_revision = "0005"
branch_labels = None
depends_on = None

INDEXES = {
    "publications_live_since": (
        'INDEX CONCURRENTLY {name} ON publications (COALESCE("acceptedAt", "publishedAt")) '
        "WHERE stage = 'live'"
    ),
}


def upgrade() -> None:
    build(INDEXES)


def downgrade() -> None:
    drop(INDEXES)

"""Whose account and which post a platform's event is about, without reading the whole tables.

Revision ID: 0007
"""

from minitik_dagster.db.migrations.concurrent import build, drop

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

INDEXES = {
    "accounts_tiktok_open_id": (
        'INDEX CONCURRENTLY {name} ON accounts ("platformAccountId") '
        "WHERE platform = 'TIKTOK'::\"Platform\""
    ),
    "handles_tiktok_publish_id": (
        'INDEX CONCURRENTLY {name} ON handles ("externalId") '
        "WHERE platform = 'TIKTOK'::\"Platform\""
    ),
}


def upgrade() -> None:
    build(INDEXES)


def downgrade() -> None:
    drop(INDEXES)

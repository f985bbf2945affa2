"""Which accounts are due for a refresh, and their coming posts, without reading the whole tables.

Revision ID: 0005
"""

from minitik_dagster.db.migrations.concurrent import build, drop

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEXES = {
    "accounts_token_due": (
        'INDEX CONCURRENTLY {name} ON accounts ("tokenExpiresAt") '
        "WHERE status = 'CONNECTED'::\"AccountStatus\""
    ),
    # The next post of an account: a token must live until then.
    "publications_account_due": (
        'INDEX CONCURRENTLY {name} ON publications ("accountId", "dueAt") '
        "WHERE stage IN ('scheduled','preparing','prepared','parked','paused','held')"
    ),
}


def upgrade() -> None:
    build(INDEXES)


def downgrade() -> None:
    drop(INDEXES)

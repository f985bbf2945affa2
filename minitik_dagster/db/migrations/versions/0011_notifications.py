"""What people wish to be told, by which channel and when not. Additive.

Revision ID: 0011
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# A person without a row has the defaults; `choices` holds only what differs from them.
TABLE = """
CREATE TABLE notification_preferences (
    "userId" TEXT PRIMARY KEY,
    choices JSONB NOT NULL,
    timezone TEXT NOT NULL,
    "quietFrom" TIME(0),
    "quietTo" TIME(0),
    "urgentPasses" BOOLEAN NOT NULL,
    "reminderMinutes" INTEGER NOT NULL,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT notification_preferences_quiet
        CHECK (("quietFrom" IS NULL) = ("quietTo" IS NULL) AND "quietFrom" <> "quietTo")
)
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute(TABLE)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("DROP TABLE notification_preferences")

"""What people wish to be told, what Dagster did as our own alerts read it, and lateness by day. Additive.

Revision ID: 0011
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# A person without a row has the defaults; `choices` holds only what differs from them.
PREFERENCES = """
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
# `since`: when it was first looked at, from which on an asset that was never made is missed.
ASSETS = """
CREATE TABLE dagster_assets (
    asset TEXT PRIMARY KEY,
    since TIMESTAMP(3) NOT NULL,
    "materializedAt" TIMESTAMP(3),
    "runId" TEXT
)
"""
FAILURES = """
CREATE TABLE dagster_failures (
    "runId" TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    assets TEXT[] NOT NULL,
    "failedAt" TIMESTAMP(3) NOT NULL
)
"""
# Milliseconds after the due instant until the commit was sent; NULL where nothing was.
LATENESS = """
CREATE TABLE lateness_days (
    day DATE NOT NULL,
    platform "Platform" NOT NULL,
    posts INTEGER NOT NULL,
    within INTEGER NOT NULL,
    "objectiveMs" INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    "atOnce" INTEGER NOT NULL,
    "p50Ms" DOUBLE PRECISION,
    "p99Ms" DOUBLE PRECISION,
    "maxMs" DOUBLE PRECISION,
    "measuredAt" TIMESTAMP(3) NOT NULL,
    PRIMARY KEY (day, platform)
)
"""
TABLES = (PREFERENCES, ASSETS, FAILURES, LATENESS)
NAMES = ("lateness_days", "dagster_failures", "dagster_assets", "notification_preferences")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    for name in NAMES:
        op.execute(f"DROP TABLE {name}")

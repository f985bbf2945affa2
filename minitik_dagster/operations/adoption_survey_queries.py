"""The SQL of the survey before a take-over."""

from minitik_dagster.db import tables  # noqa: F401 - the metadata of our own tables
from minitik_dagster.db.models import Base

USERS = "SELECT count(*) FROM users"
ACCOUNTS = """
SELECT count(*) FILTER (WHERE status = 'CONNECTED'), count(*) FILTER (WHERE status <> 'CONNECTED')
FROM accounts
"""
TOKENS = "SELECT \"accessToken\" FROM accounts WHERE status = 'CONNECTED' AND \"accessToken\" <> ''"
CONTENTS = "SELECT count(*) FROM contents"
PUBLICATIONS = "SELECT count(*) FROM publications"
ENDED_JOBS = "SELECT count(*) FROM scheduled_jobs WHERE status NOT IN ('PENDING', 'ACTIVE')"
OLD_SESSIONS = "SELECT count(*) FROM sessions WHERE \"sessionToken\" NOT LIKE 'sha256:%'"
SUBSCRIPTIONS = "SELECT count(*) FROM notification_subscriptions"

# Every object that a content names, and whether an open job wants it.
MEDIA = """
SELECT c.key, bool_or(c.pending) AS pending FROM (
    SELECT t."filePath" AS key, EXISTS (SELECT 1 FROM scheduled_jobs j
        WHERE j."contentId" = t.id AND j.status IN ('PENDING', 'ACTIVE')) AS pending
    FROM contents t WHERE t."filePath" IS NOT NULL
    UNION ALL SELECT t."thumbnailPath", false FROM contents t WHERE t."thumbnailPath" IS NOT NULL
) c GROUP BY c.key
"""

OTHER_TABLES = """
SELECT c.relname AS name FROM pg_class c
WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind IN ('r', 'p')
  AND c.relname <> ALL(CAST(:known AS text[])) ORDER BY 1
"""


def known_tables() -> list[str]:
    """Return the tables of this program and of the old schema, with the records of their migrations."""
    return [*Base.metadata.tables, "minitik_alembic_version", "_prisma_migrations", *_OLD_ONLY]


_OLD_ONLY = ("notification_subscriptions", "verification_tokens", "sessions")

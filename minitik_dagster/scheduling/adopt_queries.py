"""The SQL of adoption: the lock, the mark, and what old rows without an open job become."""

_NOW = "(statement_timestamp() AT TIME ZONE 'UTC')"

# Two adoptions at once wait for each other; any constant will do.
LOCK = "SELECT pg_advisory_xact_lock(7203114560)"

MARKED = "SELECT value #>> '{}' FROM settings WHERE key = 'adopted'"

# The first adoption's time stays.
MARK = """
INSERT INTO settings (key, value, "updatedAt")
VALUES ('adopted', to_jsonb(CAST(:at AS text)), :now) ON CONFLICT (key) DO NOTHING
"""

# Their status stays as old readers know it. acceptedAt is what roll-ups and duplicates look at.
HISTORY = {
    "live": """
        UPDATE publications SET stage = 'live',
            "acceptedAt" = COALESCE("publishedAt", "createdAt")
        WHERE stage IS NULL AND status = 'PUBLISHED'
    """,
    "failed": """
        UPDATE publications SET stage = 'failed' WHERE stage IS NULL AND status = 'FAILED'
    """,
    # No open job asks for it, so nobody knows when it is due: it waits for a person, not for time.
    "paused": f"""
        UPDATE publications p SET stage = 'paused',
            "dueAt" = COALESCE(t."scheduledAt", p."createdAt"),
            "holdReason" = 'left over from the old system: no open job asks for it',
            "updatedAt" = {_NOW}
        FROM contents t
        WHERE t.id = p."contentId" AND p.stage IS NULL AND p.status = 'QUEUED'
    """,
    # Public ids that are known belong to their publications: no later post can claim one.
    "posts": f"""
        INSERT INTO posts (id, "publicationId", "accountId", platform, "platformPostId", via,
            "foundAt")
        SELECT p.id, p.id, p."accountId", p.platform, p."platformPostId", 'reconciler', {_NOW}
        FROM publications p
        WHERE p.stage = 'live' AND COALESCE(p."platformPostId", '') <> ''
          AND NOT EXISTS (SELECT 1 FROM posts o WHERE o."publicationId" = p.id)
        ON CONFLICT DO NOTHING
    """,
}

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

# What the old queue said of a job, before the job is taken out of it: the proof that nothing was begun.
NOTE = f"""
INSERT INTO old_jobs ("bullJobId", "jobId", state, attempts, "notedAt")
VALUES (:bull_job_id, :job_id, :state, :attempts, {_NOW})
ON CONFLICT ("bullJobId") DO UPDATE SET "jobId" = EXCLUDED."jobId", state = EXCLUDED.state,
    attempts = EXCLUDED.attempts, "notedAt" = EXCLUDED."notedAt", "removedAt" = NULL
WHERE (old_jobs."jobId", old_jobs.state, old_jobs.attempts)
    IS DISTINCT FROM (EXCLUDED."jobId", EXCLUDED.state, EXCLUDED.attempts)
    OR old_jobs."removedAt" IS NOT NULL
"""

REMOVED = f"""
UPDATE old_jobs SET "removedAt" = {_NOW} WHERE "bullJobId" = :bull_job_id AND "removedAt" IS NULL
"""

# Killed between a removal and its record: the job is gone, and the note does not say so.
UNRECORDED = """
SELECT o."bullJobId" AS bull_job_id, o."jobId" AS job_id
FROM old_jobs o JOIN scheduled_jobs j ON j.id = o."jobId"
WHERE o."removedAt" IS NULL AND j.status IN ('PENDING', 'ACTIVE') ORDER BY o."bullJobId"
"""

NOTED = """
SELECT "bullJobId" AS bull_job_id, "jobId" AS job_id, state, attempts FROM old_jobs
"""

# Jobs that are open, whether taken over already or not: no worker of the old system may have theirs.
OPEN_JOBS = """
SELECT j.id, j."bullJobId" AS bull_job_id,
    EXISTS (SELECT 1 FROM publications p WHERE p."scheduledJobId" = j.id) AS ours
FROM scheduled_jobs j WHERE j.status IN ('PENDING', 'ACTIVE') ORDER BY j."scheduledAt", j.id
"""

# From now on the old queue is to stay paused; the first take-over's time stays.
KEPT_PAUSED = f"""
INSERT INTO settings (key, value, "updatedAt") VALUES ('old-queue', '"paused"', {_NOW})
ON CONFLICT (key) DO NOTHING
"""

# A queue that is resumed after this was said is a fault; before it, it is the old system at work.
IS_KEPT_PAUSED = "SELECT EXISTS (SELECT 1 FROM settings WHERE key = 'old-queue') AS kept"

"""The SQL of exports: who writes one, how it ended, and which were left undone."""

NOW = "(statement_timestamp() AT TIME ZONE 'UTC')"

# Whoever gets the row writes the file.
CLAIM = f"""
UPDATE analytics_exports SET status = 'running', "startedAt" = {NOW}
WHERE id = :id AND (status = 'pending'
    OR (status = 'running' AND "startedAt" < {NOW} - interval '10 minutes'))
RETURNING "userId" AS user_id, format, range
"""

END = f"""
UPDATE analytics_exports
SET status = :status, "s3Key" = :key, rows = :rows, error = :error, "finishedAt" = {NOW}
WHERE id = :id AND status = 'running'
"""

# A dependency did not answer: whoever comes next tries again.
PUT_BACK = """
UPDATE analytics_exports SET status = 'pending', "startedAt" = NULL
WHERE id = :id AND status = 'running'
"""

# The API process writes an order at once: what is still here was left by one that ended.
UNDONE = f"""
SELECT id FROM analytics_exports
WHERE (status = 'pending' AND "createdAt" < {NOW} - interval '1 minute')
    OR (status = 'running' AND "startedAt" < {NOW} - interval '10 minutes')
ORDER BY "createdAt", id LIMIT :limit
"""

# Its file is about to be removed, or is gone already.
EXPIRE = f"""
UPDATE analytics_exports SET status = 'expired', "s3Key" = NULL, error = :error
WHERE status = 'ready' AND "finishedAt" < {NOW} - CAST(:kept AS interval)
RETURNING id
"""

GIVE_UP = f"""
UPDATE analytics_exports
SET status = 'failed', error = :error, "finishedAt" = {NOW}
WHERE status IN ('pending', 'running') AND "createdAt" < {NOW} - interval '1 day'
    AND ("startedAt" IS NULL OR "startedAt" < {NOW} - interval '10 minutes')
RETURNING id
"""

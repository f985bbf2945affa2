"""The SQL of exports: who writes one, and how it ended."""

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

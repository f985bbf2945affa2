"""The SQL of an incident's facts: what is affected, since when, and what was done lately."""

from minitik_dagster.publishing.queries import NOW

SINCE = f"""
SELECT min(at) AS first FROM (
    SELECT min("openedAt") AS at FROM alerts WHERE "resolvedAt" IS NULL
    UNION ALL SELECT min("createdAt") FROM dead_letters
        WHERE "createdAt" >= {NOW} - interval '1 hour'
    UNION ALL SELECT min(COALESCE("nextAttemptAt", "prepareAt")) FROM publications
        WHERE stage IN ('scheduled','preparing','prepared','parked','committing','confirming',
            'unknown') AND "dueAt" < {NOW} - interval '1 minute'
) f
"""

POSTS = f"""
SELECT id, lower(CAST(platform AS text)) AS platform, stage, "dueAt" AS due_at,
    "errorCode" AS code
FROM publications
WHERE (stage IN ('scheduled','preparing','prepared','parked','committing','unknown')
        AND "dueAt" < {NOW} - interval '1 minute')
   OR stage IN ('review')
   OR (stage = 'failed' AND "updatedAt" >= {NOW} - interval '1 hour')
ORDER BY "dueAt", id LIMIT 100
"""

ACCOUNTS = """
SELECT id, lower(CAST(platform AS text)) AS platform, CAST(status AS text) AS status,
    "tokenExpiresAt" AS token_expires_at, "refreshOutcome" AS refresh_outcome,
    COALESCE("refreshFailures", 0) AS refresh_failures
FROM accounts
WHERE status IN ('EXPIRED','ERROR') OR COALESCE("refreshFailures", 0) > 0
ORDER BY platform, id LIMIT 100
"""

# The texts of queries are cut and redacted before they are told.
LONG_QUERIES = """
SELECT pid, usename AS user, state, CAST(extract(epoch FROM now() - query_start) AS integer) AS seconds,
    left(query, 500) AS query
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND ((state = 'active' AND now() - query_start > interval '30 seconds')
    OR now() - xact_start > interval '5 minutes')
ORDER BY query_start LIMIT 20
"""

ALERTS = """
SELECT key, level, message, "openedAt" AS opened_at FROM alerts
WHERE "resolvedAt" IS NULL ORDER BY "openedAt", key
"""

DISPATCHERS = f"""
SELECT kind, "startedAt" AS started_at, "heartbeatAt" AS heartbeat_at, "endedAt" AS ended_at
FROM dispatchers WHERE "startedAt" >= {NOW} - interval '1 day' OR "endedAt" IS NULL
ORDER BY "startedAt" DESC LIMIT 20
"""

ACTS = f"""
SELECT at, actor, action, subject FROM audit_log
WHERE at >= {NOW} - interval '1 day' ORDER BY at DESC, id DESC LIMIT 50
"""

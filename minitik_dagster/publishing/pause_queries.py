"""The SQL of pauses and holds: what a flag covers, what is shelved, and what a resume lets go.

A flag is a row of `settings`: `pause:all`, `pause:platform:<p>` or `pause:account:<id>`. Only
SHELVE moves publications to `paused`, under a share lock on the flags; a resume deletes its flag
first and so waits for a shelving under way, whose rows it then sees: none is left behind.
"""

from minitik_dagster.notifications.event_queries import changes

NOW = "(statement_timestamp() AT TIME ZONE 'UTC')"

_PLATFORM_FLAG = "'pause:platform:' || lower(CAST(p.platform AS text))"
_ACCOUNT_FLAG = "'pause:account:' || p.\"accountId\""
# Whether a flag covers publication `p`. Sub-selects without a look at `p`: each is read and hashed once
# per statement, so hundreds of paused accounts cost the claim nothing per row.
PAUSED = f"""(
    EXISTS (SELECT 1 FROM settings WHERE key = 'pause:all')
    OR {_PLATFORM_FLAG} IN (SELECT key FROM settings WHERE key LIKE 'pause:platform:%')
    OR {_ACCOUNT_FLAG} IN (SELECT key FROM settings WHERE key LIKE 'pause:account:%'))"""
# Not begun and covered: such a row is not claimed. What has begun is claimed once, to be put down.
HELD_BACK = f"(p.stage IN ('scheduled','parked') AND {PAUSED})"

_LIKE_FLAG = "key LIKE 'pause:%'"
FLAGS = f"""
SELECT key, value, "updatedAt" AS since FROM settings WHERE {_LIKE_FLAG} ORDER BY key
"""

RAISE_FLAG = f"""
INSERT INTO settings (key, value, "updatedAt")
VALUES (:key, jsonb_build_object('reason', CAST(:reason AS text), 'actor', CAST(:actor AS text),
    'text', CAST(:text AS text)), {NOW})
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, "updatedAt" = EXCLUDED."updatedAt"
"""

LOWER_FLAG = """
DELETE FROM settings WHERE key = :key RETURNING key
"""

# What has become due in a paused scope leaves the due index: however many wait, and however long,
# the claim never wades through them. The first conditions are those of publications_claimable.
SHELVE = f"""
WITH flags AS MATERIALIZED (
    SELECT key, value FROM settings WHERE {_LIKE_FLAG} ORDER BY key FOR SHARE
), due AS (
    SELECT p.id FROM publications p
    WHERE p.stage IN ('scheduled','parked')
      AND COALESCE(p."nextAttemptAt", p."prepareAt") <= {NOW}
      AND (p."leaseExpiresAt" IS NULL OR p."leaseExpiresAt" < {NOW})
      AND (EXISTS (SELECT 1 FROM flags WHERE key = 'pause:all')
           OR {_PLATFORM_FLAG} IN (SELECT key FROM flags)
           OR {_ACCOUNT_FLAG} IN (SELECT key FROM flags))
    ORDER BY COALESCE(p."nextAttemptAt", p."prepareAt")
    LIMIT :limit
    FOR UPDATE OF p SKIP LOCKED
), moved AS (
    UPDATE publications p SET stage = 'paused', status = 'QUEUED',
        "holdReason" = (SELECT value ->> 'text' FROM flags
            WHERE key IN ('pause:all', {_PLATFORM_FLAG}, {_ACCOUNT_FLAG})
            ORDER BY key DESC LIMIT 1),
        "leaseOwner" = NULL, "leaseExpiresAt" = NULL,
        "leaseToken" = COALESCE(p."leaseToken", 0) + 1, "nextAttemptAt" = NULL, "updatedAt" = {NOW}
    FROM due WHERE p.id = due.id
    RETURNING p.*
), {changes("moved")}
SELECT id FROM moved
"""

# What `adopt` left paused was never planned (no prepareAt): it waits for a person, not for this.
LET_GO = f"""
WITH moved AS (
    UPDATE publications p SET stage = 'scheduled', "holdReason" = NULL, "updatedAt" = {NOW}
    WHERE p.stage = 'paused' AND p."prepareAt" IS NOT NULL AND NOT {PAUSED}
    RETURNING p.*
), {changes("moved")}
SELECT "dueAt" + make_interval(secs => COALESCE("maxLateness", :default_lateness)) < {NOW}
    AS too_late FROM moved
"""

# What a pause holds back now, and what it will hold back within the hour.
COST = f"""
SELECT count(*) FILTER (WHERE p.stage = 'paused') AS paused, count(*) AS waiting,
    count(DISTINCT a."userId") AS creators
FROM publications p JOIN accounts a ON a.id = p."accountId"
WHERE (p.stage = 'paused' AND p."prepareAt" IS NOT NULL
       OR p.stage IN ('scheduled','preparing','prepared','parked')
          AND COALESCE(p."nextAttemptAt", p."prepareAt") <= {NOW} + interval '1 hour')
  AND (CAST(:platform AS text) IS NULL OR lower(CAST(p.platform AS text)) = :platform)
  AND (CAST(:account_id AS text) IS NULL OR p."accountId" = :account_id)
"""

# What `adopt` holds has a reason of its own (an option is missing) and no account at fault; it is
# told apart by never having been begun: the engine's holds carry a lease token.
RELEASE_HELD = f"""
WITH held AS (
    SELECT p.id, p."dueAt" + make_interval(secs => COALESCE(p."maxLateness", :default_lateness))
        < {NOW} AS too_late
    FROM publications p
    WHERE p.stage = 'held' AND p."accountId" = :account_id AND COALESCE(p."leaseToken", 0) > 0
    ORDER BY p.id FOR UPDATE
), released AS (
    UPDATE publications p SET stage = 'scheduled', status = 'QUEUED', "holdReason" = NULL,
        "nextAttemptAt" = NULL, "leaseToken" = p."leaseToken" + 1, "updatedAt" = {NOW}
    FROM held h WHERE p.id = h.id AND NOT h.too_late
    RETURNING p.*
), {changes("released")}
SELECT id, too_late FROM held
"""

# The same rows as RELEASE_HELD takes, only looked at.
HELD = f"""
SELECT p.id, p."contentId" AS content_id, p."dueAt" AS due_at,
    p."dueAt" + make_interval(secs => COALESCE(p."maxLateness", :default_lateness)) < {NOW} AS too_late
FROM publications p
WHERE p.stage = 'held' AND p."accountId" = :account_id AND COALESCE(p."leaseToken", 0) > 0
ORDER BY p."dueAt", p.id
"""

WAKE = "SELECT pg_notify('minitik_due', '')"

AUDIT = f"""
INSERT INTO audit_log (id, at, actor, action, subject, detail)
VALUES (:row_id, {NOW}, :actor, :action, :subject, CAST(:detail AS jsonb))
"""

"""The SQL of drains: what stands in a scope, what a batch took, and what may come back."""

from minitik_dagster.publishing.queries import NOW

CHANGEABLE = "('scheduled','preparing','prepared','held','parked','paused')"
_OPEN_COMMIT = """EXISTS (SELECT 1 FROM publication_steps s WHERE s."publicationId" = p.id
    AND s."canPublish" AND s."endedAt" IS NULL)"""
# `waiting`: its time to begin has come; `delayed`: it has not, as the queue's own numbers say.
_SCOPE = f"""
  AND (CAST(:platform AS text) IS NULL OR lower(CAST(p.platform AS text)) = :platform)
  AND (CAST(:account_id AS text) IS NULL OR p."accountId" = :account_id)
  AND (CAST(:part AS text) IS NULL OR (p."dueAt" > {NOW}) = (CAST(:part AS text) = 'delayed'))
"""

# `sending` cannot be taken back any more: the engine sees it to its end.
PLAN = f"""
SELECT lower(CAST(p.platform AS text)) AS platform,
    count(*) FILTER (WHERE p.stage IN {CHANGEABLE} AND NOT {_OPEN_COMMIT}) AS posts,
    count(DISTINCT a."userId") FILTER (WHERE p.stage IN {CHANGEABLE} AND NOT {_OPEN_COMMIT})
        AS creators,
    count(*) FILTER (WHERE p.stage IN ('committing','unknown') OR {_OPEN_COMMIT}) AS sending,
    min(p."dueAt") FILTER (WHERE p.stage IN {CHANGEABLE}) AS first_due,
    max(p."dueAt") FILTER (WHERE p.stage IN {CHANGEABLE}) AS last_due
FROM publications p JOIN accounts a ON a.id = p."accountId"
WHERE p.stage NOT IN ('live','removed','failed','cancelled') {_SCOPE}
GROUP BY 1 ORDER BY 1
"""

# Contents first, in the order of their ids, as roll-ups take them.
NEXT_CONTENTS = f"""
SELECT DISTINCT p."contentId" AS id FROM publications p
WHERE p.stage IN {CHANGEABLE} AND NOT {_OPEN_COMMIT} AND p."contentId" > :after {_SCOPE}
ORDER BY 1 LIMIT :limit
"""
LOCK_CONTENTS = """
SELECT id FROM contents WHERE id = ANY(CAST(:ids AS text[])) ORDER BY id FOR UPDATE
"""
TAKE = f"""
SELECT p.id FROM publications p
WHERE p."contentId" = ANY(CAST(:ids AS text[])) AND p.stage IN {CHANGEABLE}
  AND NOT {_OPEN_COMMIT} {_SCOPE}
ORDER BY p.id FOR UPDATE OF p
"""

REMEMBER = f"""
INSERT INTO drained_publications ("batchId", "publicationId", stage, "holdReason", revision,
    "drainedAt")
SELECT :batch, p.id, p.stage, p."holdReason", COALESCE(p.revision, 0) + 1, {NOW}
FROM publications p WHERE p.id = ANY(CAST(:ids AS text[]))
"""

BATCHES = """
SELECT d."batchId" AS batch, min(d."drainedAt") AS drained_at, count(*) AS posts,
    count(*) FILTER (WHERE d."restoredAt" IS NULL) AS left,
    (SELECT actor FROM audit_log WHERE action = 'queue.drain' AND subject = d."batchId"
        ORDER BY at LIMIT 1) AS actor,
    (SELECT detail ->> 'scope' FROM audit_log WHERE action = 'queue.drain'
        AND subject = d."batchId" ORDER BY at LIMIT 1) AS scope
FROM drained_publications d GROUP BY 1 ORDER BY 2 DESC LIMIT :limit
"""

# Why a post of the batch stays cancelled: it was changed since (`changed`), its content is gone
# (`gone`), or the same content was scheduled on that account again (`replaced`): never twice.
_VERDICT = f"""
    CASE WHEN p.stage <> 'cancelled' OR COALESCE(p.revision, 0) <> d.revision THEN 'changed'
        WHEN c."deletedAt" IS NOT NULL THEN 'gone'
        WHEN EXISTS (SELECT 1 FROM publications q WHERE q."contentId" = p."contentId"
            AND q."accountId" = p."accountId" AND q.id <> p.id AND q.stage <> 'cancelled'
            AND q."createdAt" >= d."drainedAt") THEN 'replaced'
        ELSE 'restore' END AS verdict,
    p."dueAt" + make_interval(secs => COALESCE(p."maxLateness", :default_lateness)) < {NOW}
        AS too_late
"""
JUDGE = f"""
SELECT p.id, p."contentId" AS content_id, {_VERDICT}
FROM drained_publications d
JOIN publications p ON p.id = d."publicationId" JOIN contents c ON c.id = p."contentId"
WHERE d."batchId" = :batch AND d."restoredAt" IS NULL
  AND (CAST(:ids AS text[]) IS NULL OR p."contentId" = ANY(CAST(:ids AS text[])))
ORDER BY p.id
"""
LOCK_BATCH = """
SELECT p.id FROM publications p JOIN drained_publications d ON d."publicationId" = p.id
WHERE d."batchId" = :batch AND d."restoredAt" IS NULL
  AND p."contentId" = ANY(CAST(:ids AS text[]))
ORDER BY p.id FOR UPDATE OF p
"""
BATCH_CONTENTS = """
SELECT DISTINCT p."contentId" AS id FROM drained_publications d
JOIN publications p ON p.id = d."publicationId"
WHERE d."batchId" = :batch AND d."restoredAt" IS NULL AND p."contentId" > :after
ORDER BY 1 LIMIT :limit
"""

# What waited for a person (held, or paused by `adopt`) waits again; all else is prepared anew. A
# pause in force shelves it when its time to begin comes.
RESTORE = f"""
WITH back AS (
    UPDATE drained_publications SET "restoredAt" = {NOW}
    WHERE "batchId" = :batch AND "publicationId" = ANY(CAST(:ids AS text[]))
        AND "restoredAt" IS NULL
    RETURNING "publicationId", stage, "holdReason"
)
UPDATE publications p SET
    stage = CASE WHEN b.stage = 'held' OR (b.stage = 'paused' AND p."prepareAt" IS NULL)
        THEN b.stage ELSE 'scheduled' END,
    "holdReason" = CASE WHEN b.stage = 'held' OR (b.stage = 'paused' AND p."prepareAt" IS NULL)
        THEN b."holdReason" END,
    status = 'QUEUED', error = NULL, "errorCode" = NULL, "errorFix" = NULL,
    "leaseOwner" = NULL, "leaseExpiresAt" = NULL, "nextAttemptAt" = NULL,
    "leaseToken" = COALESCE(p."leaseToken", 0) + 1, revision = COALESCE(p.revision, 0) + 1,
    "updatedAt" = {NOW}
FROM back b WHERE p.id = b."publicationId"
RETURNING p.id
"""

"""The SQL of reconciling a day: what is not settled, a claim of it, and a late success."""

from minitik_dagster.publishing.queries import CLAIM, FENCE, NOW

# A commit on the handle left us and was not answered by a documented refusal (engine.md R2).
_MAYBE_SENT = "('unknown','not_published','handle_dead')"

_UNSETTLED = f"""
(p.stage IN ('unknown','committing','confirming','review')
 OR (p.stage = 'live' AND p."platformPostId" IS NULL)
 OR (p.stage IN ('failed','cancelled') AND EXISTS (
    SELECT 1 FROM publication_steps s WHERE s."publicationId" = p.id AND s."canPublish"
      AND s.outcome IN {_MAYBE_SENT})))
"""

UNSETTLED = f"""
SELECT p.id, p.platform, p.stage, p."platformPostId" AS platform_post_id FROM publications p
WHERE (CAST(:ids AS text[]) IS NULL OR p.id = ANY(CAST(:ids AS text[])))
  AND (CAST(:start AS timestamp) IS NULL OR p."dueAt" >= CAST(:start AS timestamp))
  AND (CAST(:stop AS timestamp) IS NULL OR p."dueAt" < CAST(:stop AS timestamp))
  AND {_UNSETTLED} AND p."rolledBackAt" IS NULL
ORDER BY p."dueAt", p.id
"""

STANDING_NOW = """
SELECT p.id, p.stage, p."platformPostId" AS platform_post_id FROM publications p
WHERE p.id = ANY(CAST(:ids AS text[]))
"""

# The dispatchers' own claim, for one publication and whatever its wake: expired leases only (R7).
CLAIM_ONE = f"""
WITH due AS (
    SELECT p.id FROM publications p
    WHERE p.id = :id AND {_UNSETTLED}
      AND (p."leaseExpiresAt" IS NULL OR p."leaseExpiresAt" < {NOW})
    FOR UPDATE OF p SKIP LOCKED
), claimed AS ({CLAIM.partition("), claimed AS (")[2]}"""

# Nothing was learned: the lease goes back, and everything else stays as it was.
LET_GO = f"""
UPDATE publications SET "leaseOwner" = NULL, "leaseExpiresAt" = NULL WHERE id = :id AND {FENCE}
"""

# A commit that had been given up did happen: its step becomes the publication's one success.
ADOPT_CLOSED_COMMIT = f"""
WITH held AS (
    SELECT p.id FROM publications p WHERE p.id = :id AND {FENCE} FOR UPDATE
), ended AS (
    UPDATE publication_steps s SET outcome = 'ok', "platformCode" = :code,
        detail = COALESCE(s.detail, CAST('{{}}' AS jsonb))
            || jsonb_build_object('via', 'reconciler', 'was', s.outcome)
    FROM held h
    WHERE s.id = (
        SELECT x.id FROM publication_steps x
        WHERE x."publicationId" = h.id AND x."canPublish" AND x."handleId" = :handle_id
          AND x."endedAt" IS NOT NULL AND x.outcome IN {_MAYBE_SENT}
        ORDER BY x."startedAt" DESC LIMIT 1)
      AND NOT EXISTS (
        SELECT 1 FROM publication_steps x
        WHERE x."publicationId" = h.id AND x."canPublish" AND x.outcome = 'ok')
    RETURNING s."publicationId", COALESCE(s."sentAt", s."startedAt") AS sent
), handled AS (
    UPDATE handles h SET "updatedAt" = {NOW},
        state = CASE WHEN h.id = :handle_id THEN 'used' ELSE 'dropped' END
    FROM ended e WHERE h."publicationId" = e."publicationId"
      AND (h.id = :handle_id OR h.state = 'active')
), told AS (
    UPDATE dead_letters d SET "resolvedAt" = {NOW}, resolution = 'found live by the reconciler'
    FROM ended e WHERE d."publicationId" = e."publicationId" AND d."resolvedAt" IS NULL
)
UPDATE publications p SET "committedAt" = e.sent, "acceptedAt" = {NOW}, "updatedAt" = {NOW},
    error = NULL, "errorCode" = NULL, "errorFix" = NULL
FROM ended e WHERE p.id = e."publicationId"
RETURNING p.id
"""

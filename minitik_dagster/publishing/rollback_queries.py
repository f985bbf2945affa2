"""The SQL of a rollback: what is looked at, taken, kept as a record, and summed up."""

from minitik_dagster.publishing.queries import CLAIMED_VIEW, NOW

# Jobs that only the old system knows: its worker may post this content yet.
OLD_JOBS = """
SELECT j.id FROM scheduled_jobs j
WHERE j."contentId" = :content_id AND j.status IN ('PENDING','ACTIVE')
  AND NOT EXISTS (SELECT 1 FROM publications p WHERE p."scheduledJobId" = j.id)
"""

# The lease is taken over whoever holds it: from these stages a dispatcher only asks, and its next write
# meets the fence. A row of the old system, which has no stage, is told by its status.
TAKE = f"""
WITH claimed AS (
    UPDATE publications p SET "leaseOwner" = :owner,
        "leaseExpiresAt" = {NOW} + CAST(:lease AS interval),
        "leaseToken" = COALESCE(p."leaseToken", 0) + 1,
        stage = COALESCE(p.stage, 'live'), "updatedAt" = {NOW}
    WHERE p.id = ANY(CAST(:ids AS text[]))
    RETURNING p.*
)
{CLAIMED_VIEW}ORDER BY c.id
"""

# What ended before: it counts for the content no more, and cannot be replayed.
SET_ASIDE = f"""
UPDATE publications SET "rolledBackAt" = COALESCE("rolledBackAt", {NOW}), "updatedAt" = {NOW}
WHERE id = ANY(CAST(:ids AS text[]))
"""
RESOLVE_LETTERS = f"""
UPDATE dead_letters SET "resolvedAt" = {NOW}, resolution = 'rolled back'
WHERE "publicationId" = ANY(CAST(:ids AS text[])) AND "resolvedAt" IS NULL
"""

# A content all of whose posts are rolled back is a draft again: not published, not waiting.
FORGET_TIMES = """
UPDATE contents SET "publishedAt" = NULL, "scheduledAt" = NULL
WHERE id = :content_id AND status = 'DRAFT'
"""

AUDIT = f"""
INSERT INTO audit_log (id, at, actor, action, subject, detail)
VALUES (:row_id, {NOW}, :actor, 'content.rollback', :content_id, CAST(:detail AS jsonb))
"""

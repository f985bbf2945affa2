"""The SQL of reviews: what a person's word changes."""

from minitik_dagster.publishing.queries import NOW

LIST_REVIEWS = """
SELECT p.id, p.platform, p."accountId" AS account_id, p."contentId" AS content_id,
    p."dueAt" AS due_at, p.error, a."platformUsername" AS username
FROM publications p JOIN accounts a ON a.id = p."accountId"
WHERE p.stage = 'review' ORDER BY p."dueAt"
"""

LOCK_PUBLICATION = """
SELECT p.id, p.stage, p."contentId" AS content_id, p."accountId" AS account_id, p.platform,
    p."scheduledJobId" AS job_id
FROM publications p WHERE p.id = :id FOR UPDATE
"""

BIND_BY_OPERATOR = f"""
INSERT INTO posts (id, "publicationId", "accountId", platform, "platformPostId", via, "foundAt")
VALUES (:row_id, :id, :account_id, CAST(:platform AS "Platform"), :post_id, 'operator', {NOW})
ON CONFLICT ("accountId", "platformPostId") DO NOTHING
RETURNING id
"""

DECLARE_LIVE = f"""
UPDATE publications SET stage = 'live', status = 'PUBLISHED', "platformPostId" = :post_id,
    "acceptedAt" = COALESCE("acceptedAt", "dueAt"), "publishedAt" = COALESCE("acceptedAt", "dueAt"),
    "verifiedAt" = {NOW}, error = NULL, "errorCode" = NULL, "errorFix" = NULL, "updatedAt" = {NOW}
WHERE id = :id
"""

# A new handle is made; the old one was judged unpublished by a person (engine.md R2).
SEND_AGAIN = f"""
UPDATE publications SET stage = 'scheduled', status = 'QUEUED', "nextAttemptAt" = {NOW},
    revision = COALESCE(revision, 0) + 1, error = NULL, "errorCode" = NULL, "updatedAt" = {NOW}
WHERE id = :id
"""

AUDIT = f"""
INSERT INTO audit_log (id, at, actor, action, subject, detail)
VALUES (:row_id, {NOW}, :actor, :action, :id, CAST(:detail AS jsonb))
"""

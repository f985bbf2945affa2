"""The SQL that erases a person: what is counted before, what is overwritten, what is deleted."""

_NOW = "(statement_timestamp() AT TIME ZONE 'UTC')"

LOCK_USER = """
SELECT id, email, "deletedAt" AS deleted_at FROM users WHERE id = :user_id FOR UPDATE
"""

# Posts that wait (a job of ours may be cancelled), by job.
OPEN_JOBS = """
SELECT DISTINCT p."scheduledJobId" FROM publications p
JOIN contents c ON c.id = p."contentId"
WHERE c."userId" = :user_id AND p."scheduledJobId" IS NOT NULL
    AND p.stage NOT IN ('live','failed','cancelled','removed')
ORDER BY 1
"""

# The old system's queue would still post these: they must be taken over first.
OLD_JOBS = """
SELECT count(*) FROM scheduled_jobs j JOIN contents c ON c.id = j."contentId"
WHERE c."userId" = :user_id AND j.status IN ('PENDING','ACTIVE')
    AND NOT EXISTS (SELECT 1 FROM publications p WHERE p."scheduledJobId" = j.id)
"""

COUNTS = """
SELECT
    (SELECT count(*) FROM accounts WHERE "userId" = :user_id AND "accessToken" <> '') AS accounts,
    (SELECT count(*) FROM publications p JOIN contents c ON c.id = p."contentId"
        WHERE c."userId" = :user_id AND p.stage NOT IN ('live','failed','cancelled','removed'))
        AS posts_cancelled,
    (SELECT count(*) FROM contents WHERE "userId" = :user_id) AS contents,
    (SELECT count(*) FROM sessions WHERE "userId" = :user_id) AS sessions,
    (SELECT count(*) FROM api_keys WHERE "userId" = :user_id) AS keys,
    (SELECT count(*) FROM notification_subscriptions WHERE "userId" = :user_id)
        AS push_subscriptions
"""

MEDIA = """
SELECT c.id, k.key FROM contents c
CROSS JOIN LATERAL (VALUES (c."filePath"), (c."thumbnailPath")) k (key)
WHERE c."userId" = :user_id AND k.key IS NOT NULL
UNION
SELECT "contentId", "s3Key" FROM upload_sessions
WHERE "userId" = :user_id AND "s3Key" <> ''
ORDER BY 1, 2
"""

FORGET_MEDIA = (
    """
    UPDATE contents SET "filePath" = CASE WHEN "filePath" = :key THEN NULL ELSE "filePath" END,
        "thumbnailPath" = CASE WHEN "thumbnailPath" = :key THEN NULL ELSE "thumbnailPath" END
    WHERE id = :content_id
    """,
    """
    UPDATE upload_sessions SET "s3Key" = '' WHERE "contentId" = :content_id AND "s3Key" = :key
    """,
)

ACCOUNTS = """
SELECT id FROM accounts WHERE "userId" = :user_id ORDER BY id
"""

# Ids and states stay, what a person wrote or is called goes. In the order of their locks elsewhere:
# contents before publications before accounts.
ERASE = (
    f"""
    UPDATE contents SET title = 'deleted', description = NULL, metadata = NULL,
        "deletedAt" = COALESCE("deletedAt", {_NOW}), "updatedAt" = {_NOW}
    WHERE "userId" = :user_id
    """,
    f"""
    UPDATE publications p SET options = NULL, "updatedAt" = {_NOW}
    FROM contents c WHERE c.id = p."contentId" AND c."userId" = :user_id
        AND p.options IS NOT NULL
    """,
    """
    UPDATE accounts SET "platformUsername" = NULL, metadata = NULL WHERE "userId" = :user_id
    """,
    """UPDATE upload_sessions SET filename = 'deleted' WHERE "userId" = :user_id""",
    """DELETE FROM sessions WHERE "userId" = :user_id""",
    """DELETE FROM api_keys WHERE "userId" = :user_id""",
    """DELETE FROM oauth_states WHERE "userId" = :user_id""",
    """DELETE FROM idempotency_keys WHERE "userId" = :user_id""",
    """DELETE FROM notification_subscriptions WHERE "userId" = :user_id""",
    """DELETE FROM notification_preferences WHERE "userId" = :user_id""",
    """DELETE FROM webhooks WHERE "userId" = :user_id""",
    """DELETE FROM events WHERE "userId" = :user_id""",
    """DELETE FROM verification_tokens WHERE lower(identifier) = lower(:email)""",
    """
    DELETE FROM outbox WHERE "doneAt" IS NULL
        AND (payload ->> 'userId' = :user_id OR lower(payload ->> 'email') = lower(:email))
        AND kind IN ('sign_in.link','account.disconnected','account.expires_soon',
            'account.unhealthy','publication.published','publication.failed','publication.at_risk',
            'schedule.reminder','analytics.update','notice.push')
    """,
    f"""
    UPDATE users SET email = 'deleted+' || id || '@deleted.invalid', name = NULL, image = NULL,
        "passwordHash" = NULL, "emailVerified" = NULL, "deletedAt" = {_NOW}, "updatedAt" = {_NOW}
    WHERE id = :user_id
    """,
)

AUDIT = f"""
INSERT INTO audit_log (id, at, actor, action, subject, detail)
VALUES (:row_id, {_NOW}, :actor, 'user.erase', :user_id, CAST(:detail AS jsonb))
"""

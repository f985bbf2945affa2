"""The SQL of the bucket's cleaning: note what is to go, claim what is due, say how it went."""

from typing import Final

KIND: Final = "delete_object"
_NOW = "(statement_timestamp() AT TIME ZONE 'UTC')"

# One note per object; one that was carried out before is due anew.
NOTE = f"""
INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
VALUES ('object:' || :key, '{KIND}', jsonb_build_object('key', CAST(:key AS text),
    'contentId', CAST(:content_id AS text), 'uploadId', CAST(:upload_id AS text)), {_NOW}, 0, {_NOW})
ON CONFLICT (id) DO UPDATE SET payload = EXCLUDED.payload, "dueAt" = EXCLUDED."dueAt",
    "createdAt" = EXCLUDED."createdAt", attempts = 0, error = NULL, "doneAt" = NULL
"""

# A claim is the row's own dueAt, pushed ahead: a crash makes it due again.
CLAIM = f"""
WITH due AS (
    SELECT o.id FROM outbox o
    WHERE o."doneAt" IS NULL AND o."dueAt" <= {_NOW} AND o.kind = '{KIND}'
    ORDER BY o."dueAt" LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE outbox o SET attempts = o.attempts + 1, "dueAt" = {_NOW} + CAST(:busy AS interval)
FROM due WHERE o.id = due.id
RETURNING o.id, o.attempts, o.payload ->> 'key' AS key, o.payload ->> 'contentId' AS content_id,
    o.payload ->> 'uploadId' AS upload_id
"""

WAITING = f"""
SELECT count(*) FROM outbox o
WHERE o."doneAt" IS NULL AND o."dueAt" <= {_NOW} AND o.kind = '{KIND}'
"""

# Whoever noted it has taken the content away in the same transaction. These two are asked all the same,
# under the lock that scheduling takes: an object that somebody needs is never deleted.
LOCK_CONTENT = """
SELECT 1 FROM contents WHERE id = :content_id FOR UPDATE
"""

NEEDED_BY = """
SELECT CASE
    WHEN c."deletedAt" IS NULL AND :key IN (c."filePath", c."thumbnailPath") THEN 'content'
    WHEN :key = c."filePath" AND EXISTS (
        SELECT 1 FROM publications p WHERE p."contentId" = c.id
            AND p.stage IS DISTINCT FROM 'cancelled'
            AND COALESCE(p.stage, lower(p.status::text))
                NOT IN ('live','failed','removed','published')
    ) THEN 'post' END
FROM contents c WHERE c.id = :content_id
"""

DONE = f"""
UPDATE outbox SET "doneAt" = {_NOW}, error = :note WHERE id = :message_id
"""

AGAIN = f"""
UPDATE outbox SET "dueAt" = {_NOW} + CAST(:wait AS interval), error = :note WHERE id = :message_id
"""

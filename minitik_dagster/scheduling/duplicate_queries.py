"""The SQL that finds the same post on the same account."""

from typing import Final

_NOW = "(statement_timestamp() AT TIME ZONE 'UTC')"
_WINDOW = "make_interval(hours => :window_hours)"

# Rows of the old system have no stage: of the same content only the ones not finished count, of another
# one what was posted within the window too. The content itself comes last, so that it is what is told.
FIND: Final = f"""
SELECT p."accountId" AS account_id, p.platform, p.stage, p.status, p."contentId" AS content_id,
    p."contentId" = :content_id AS same
FROM publications p
JOIN contents c ON c.id = p."contentId"
LEFT JOIN unnest(CAST(:captioned AS text[]), CAST(:captions AS text[])) AS w(account_id, caption)
    ON w.account_id = p."accountId"
WHERE p."accountId" = ANY(CAST(:account_ids AS text[]))
  AND p."scheduledJobId" IS DISTINCT FROM CAST(:job_id AS text)
  AND CASE
    WHEN p.stage IN ('failed', 'cancelled', 'removed') THEN false
    WHEN p."contentId" = :content_id THEN CASE
        WHEN p.stage IS NULL THEN p.status IN ('QUEUED', 'PUBLISHING')
        WHEN p.stage = 'live' THEN p."rolledBackAt" IS NOT NULL
            OR p."committedAt" > {_NOW} - {_WINDOW}
        ELSE true END
    WHEN CAST(:fingerprint AS text) IS NULL THEN false
    ELSE p.status <> 'FAILED'
        AND (p."rolledBackAt" IS NOT NULL
             OR COALESCE(p."committedAt", p."dueAt", p."publishedAt")
                BETWEEN CAST(:due_at AS timestamp) - {_WINDOW}
                    AND CAST(:due_at AS timestamp) + {_WINDOW})
        AND COALESCE(c.metadata ->> 'fingerprint', 'sha256:' || (c.metadata ->> 'sha256'))
            = CAST(:fingerprint AS text)
        AND btrim(p.options ->> 'caption', E' \\t\\n\\r') = w.caption
    END
ORDER BY p."accountId", same, p."createdAt"
"""

"""What publications' stages mean for their job and their content: one statement each.

A content is PUBLISHED only if all its publications are; some live and some final otherwise is
FAILED with errorCode `partial` (contracts.md, "What the old enums say"). Run in the transaction
that moved a publication, after the content's row was locked, so that two last movers agree. A content
that becomes partial is told there, as an event.
"""

from minitik_dagster.notifications.event_queries import PARTIAL_FACTS, recorded

LOCK_CONTENT = """
SELECT 1 FROM contents WHERE id = :content_id FOR UPDATE
"""

ROLL_UP_JOB = """
UPDATE scheduled_jobs j SET
    status = CAST(CASE
        WHEN s.open > 0 AND s.begun > 0 THEN 'ACTIVE'
        WHEN s.open > 0 THEN 'PENDING'
        WHEN s.cancelled = s.total THEN 'CANCELLED'
        WHEN s.live = s.total THEN 'COMPLETED'
        ELSE 'FAILED' END AS "JobStatus"),
    "completedAt" = CASE WHEN s.open = 0
        THEN statement_timestamp() AT TIME ZONE 'UTC' END,
    "updatedAt" = statement_timestamp() AT TIME ZONE 'UTC'
FROM (
    SELECT count(*) AS total,
        count(*) FILTER (WHERE stage NOT IN ('live','removed','failed','cancelled')) AS open,
        count(*) FILTER (WHERE stage NOT IN ('scheduled','held','parked','paused')) AS begun,
        count(*) FILTER (WHERE stage IN ('live','removed')) AS live,
        count(*) FILTER (WHERE stage = 'cancelled') AS cancelled
    FROM publications WHERE "scheduledJobId" = :job_id
) s
WHERE j.id = :job_id AND s.total > 0
"""

ROLL_UP_CONTENT = f"""
WITH before AS (
    SELECT "errorCode" AS code FROM contents WHERE id = :content_id
), rolled AS (
    UPDATE contents c SET
        status = CAST(CASE
            WHEN s.open > 0 AND s.begun > 0 THEN 'PUBLISHING'
            WHEN s.open > 0 THEN 'SCHEDULED'
            WHEN s.counted = 0 THEN 'DRAFT'
            WHEN s.live = s.counted THEN 'PUBLISHED'
            ELSE 'FAILED' END AS "ContentStatus"),
        "errorCode" = CASE
            WHEN s.open = 0 AND s.counted > 0 AND s.live > 0 AND s.live < s.counted THEN 'partial'
            WHEN s.open = 0 AND s.counted > 0 AND s.live = 0 THEN s.failed_code END,
        "publishedAt" = CASE WHEN s.open = 0 AND s.live > 0 THEN s.accepted ELSE c."publishedAt" END,
        "updatedAt" = statement_timestamp() AT TIME ZONE 'UTC'
    FROM (
        SELECT count(*) FILTER (WHERE stage <> 'cancelled') AS counted,
            count(*) FILTER (WHERE stage NOT IN ('live','removed','failed','cancelled')) AS open,
            count(*) FILTER (WHERE stage NOT IN
                ('scheduled','held','parked','paused','cancelled')) AS begun,
            count(*) FILTER (WHERE stage IN ('live','removed')) AS live,
            max("acceptedAt") AS accepted,
            max("errorCode") FILTER (WHERE stage = 'failed') AS failed_code
        FROM publications WHERE "contentId" = :content_id AND stage IS NOT NULL
            AND "rolledBackAt" IS NULL
    ) s
    WHERE c.id = :content_id
    RETURNING c.id, c."userId", c."errorCode"
), {PARTIAL_FACTS}, {recorded("facts")}
SELECT 1
"""  # noqa: S608 - constants of event_queries

ROLL_UP = (LOCK_CONTENT, ROLL_UP_JOB, ROLL_UP_CONTENT)

"""The SQL of the figures: each one indexed or over a table that stays small."""

from minitik_dagster.publishing.queries import NOW

# Over what was committed in the window, by the index publications_committed.
_STEPS = (
    ("committed", '"committedAt"'),
    ("accepted", '"acceptedAt"'),
    ("verified", '"verifiedAt"'),
)
LATENESS = " UNION ALL ".join(
    f"""
    SELECT lower(CAST(platform AS text)) AS platform, '{name}' AS step, count(*) AS posts,
        percentile_disc(0.5) WITHIN GROUP (ORDER BY late) AS p50,
        percentile_disc(0.99) WITHIN GROUP (ORDER BY late) AS p99, max(late) AS longest
    FROM (SELECT platform, CAST(extract(epoch FROM {column} - "dueAt") AS double precision) AS late
        FROM publications WHERE "committedAt" >= {NOW} - CAST(:window AS interval)
        AND {column} IS NOT NULL AND "dueAt" IS NOT NULL) p
    GROUP BY 1"""
    for name, column in _STEPS
)

OUTCOMES = f"""
SELECT lower(CAST(platform AS text)) AS platform, outcome, count(*) AS steps
FROM publication_steps WHERE "endedAt" >= {NOW} - CAST(:window AS interval) AND outcome IS NOT NULL
GROUP BY 1, 2 ORDER BY 1, 2
"""

FAILURES = f"""
SELECT lower(CAST(platform AS text)) AS platform, code, count(*) AS posts
FROM dead_letters WHERE "createdAt" >= {NOW} - CAST(:window AS interval)
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 100
"""

STAGES = """
SELECT lower(CAST(platform AS text)) AS platform, stage, count(*) AS posts
FROM publications
WHERE stage NOT IN ('live','removed','failed','cancelled')
GROUP BY 1, 2 ORDER BY 1, 2
"""

# `horizon`: until the first token of the platform ends that nothing has renewed yet, in seconds.
TOKENS = f"""
SELECT lower(CAST(platform AS text)) AS platform, CAST(status AS text) AS status,
    count(*) AS accounts,
    CAST(extract(epoch FROM min("tokenExpiresAt") - {NOW}) AS double precision) AS horizon,
    count(*) FILTER (WHERE "refreshFailedAt" >= {NOW} - interval '1 hour') AS refreshes_failed
FROM accounts GROUP BY 1, 2 ORDER BY 1, 2
"""

UPLOADS = """
SELECT status, count(*) AS sessions, CAST(COALESCE(sum("fileSize"), 0) AS bigint) AS bytes
FROM upload_sessions GROUP BY 1 ORDER BY 1
"""

# What is not due yet (a repeated message's next try) waits as well; what a person's quiet hours hold has
# waited since their end.
OUTBOX = f"""
SELECT kind, count(*) AS waiting,
    CAST(extract(epoch FROM GREATEST({NOW} - min(GREATEST("createdAt",
        CAST(rtrim(payload ->> 'heldUntil', 'Z') AS timestamp))), interval '0')) AS double precision)
        AS oldest,
    count(*) FILTER (WHERE error IS NOT NULL) AS failing
FROM outbox WHERE "doneAt" IS NULL GROUP BY 1 ORDER BY 1
"""

ALERTS = """
SELECT key, level FROM alerts WHERE "resolvedAt" IS NULL ORDER BY key
"""

DISPATCHERS = f"""
SELECT kind, count(*) AS alive FROM dispatchers
WHERE "endedAt" IS NULL AND "heartbeatAt" >= {NOW} - interval '1 minute' GROUP BY 1 ORDER BY 1
"""

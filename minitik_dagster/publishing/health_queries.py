"""The SQL of the engine's health: what is overdue, doubled, unknown for long, or stuck.

Each statement answers `total` and at most 20 `ids`, the oldest first. Those about waiting rows have
the predicate of the partial index publications_claimable, so that they stay cheap whatever the
history's size.
"""

from minitik_dagster.publishing.pause_queries import PAUSED
from minitik_dagster.publishing.queries import NOW

_SENDABLE = "('scheduled','preparing','prepared')"
_CLAIMABLE = (
    "(p.stage IN "
    "('scheduled','preparing','prepared','parked','committing','confirming','unknown') "
    "OR (p.stage = 'live' AND p.\"nextAttemptAt\" IS NOT NULL))"
)
_WAKE = 'COALESCE(p."nextAttemptAt", p."prepareAt")'
_FREE = f'(p."leaseExpiresAt" IS NULL OR p."leaseExpiresAt" < {NOW})'
_COUNTED = "count(*) AS total, (array_agg(f.id ORDER BY f.since, f.id))[1:20] AS ids"

# A wake was reached long ago and nobody has taken the row: no dispatcher is alive, or none can keep
# up. `late` of them should have been public already. What was scheduled with less notice than preparing
# takes has a wake before its own making: it has waited since then.
UNTAKEN = f"""
SELECT {_COUNTED}, count(*) FILTER (WHERE f."dueAt" < {NOW} - CAST(:allowed AS interval)) AS late,
    min(f.since) AS oldest
FROM (
    SELECT p.id, p."dueAt", {_WAKE} AS since FROM publications p
    WHERE {_CLAIMABLE} AND p.stage <> 'live' AND {_FREE} AND NOT {PAUSED}
      AND {_WAKE} < {NOW} - CAST(:allowed AS interval)
      AND p."createdAt" < {NOW} - CAST(:allowed AS interval)
    ORDER BY {_WAKE} LIMIT 10000
) f
"""

# Due a while ago and not sent, although nobody has put it back: a retry's wait is such a reason, a
# breaker, a pause and a held account are others.
OVERDUE = f"""
SELECT {_COUNTED} FROM (
    SELECT p.id, p."dueAt" AS since FROM publications p
    WHERE {_CLAIMABLE} AND p.stage IN {_SENDABLE} AND NOT {PAUSED}
      AND p."dueAt" < {NOW} - CAST(:allowed AS interval)
      AND {_WAKE} < {NOW} - CAST(:allowed AS interval)
    ORDER BY p."dueAt" LIMIT 10000
) f
"""

# More than one success of one publication, by everything that our own tables know: commits that
# succeeded, handles that were committed, public ids (TikTok may give several for one handle), and one
# public id of an account that two publications claim.
DOUBLE_POSTS = """
SELECT count(*) AS total, (array_agg(f.id ORDER BY f.id))[1:20] AS ids FROM (
    SELECT s."publicationId" AS id FROM publication_steps s
    WHERE s."canPublish" AND s.outcome = 'ok' GROUP BY 1 HAVING count(*) > 1
    UNION
    SELECT h."publicationId" FROM handles h WHERE h.state = 'used' GROUP BY 1 HAVING count(*) > 1
    UNION
    SELECT o."publicationId" FROM posts o WHERE o.platform <> 'TIKTOK'
    GROUP BY 1 HAVING count(*) > 1
    UNION
    SELECT min(p.id) FROM publications p WHERE p."platformPostId" IS NOT NULL
    GROUP BY p."accountId", p."platformPostId" HAVING count(*) > 1
) f
"""

UNKNOWN_LONG = f"""
SELECT {_COUNTED} FROM (
    SELECT p.id, s."startedAt" AS since FROM publications p
    JOIN publication_steps s ON s."publicationId" = p.id AND s."canPublish" AND s."endedAt" IS NULL
    WHERE p.stage IN ('unknown','committing')
      AND s."startedAt" < {NOW} - CAST(:allowed AS interval)
) f
"""

# A lease that ended long ago and was taken by nobody, or a preparation that does not end.
STUCK = f"""
SELECT {_COUNTED} FROM (
    SELECT p.id, p."leaseExpiresAt" AS since FROM publications p
    WHERE p."leaseOwner" IS NOT NULL AND p."leaseExpiresAt" < {NOW} - CAST(:lease AS interval)
    UNION
    SELECT p.id, s."startedAt" FROM publications p
    JOIN publication_steps s ON s."publicationId" = p.id AND s."endedAt" IS NULL
        AND NOT s."canPublish"
    WHERE p.stage = 'preparing' AND s."startedAt" < {NOW} - CAST(:preparing AS interval)
) f
"""

# Whether a resident dispatcher of one machine (or container: each has its own name) has beaten lately.
RESIDENT_BEATS = f"""
SELECT EXISTS (
    SELECT 1 FROM dispatchers d
    WHERE d.kind = 'resident' AND d.host = :host AND d."endedAt" IS NULL
      AND d."heartbeatAt" > {NOW} - CAST(:allowed AS interval)
)
"""

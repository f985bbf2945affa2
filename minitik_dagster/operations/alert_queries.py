"""The SQL of alerts: the readings, and what their readers have been told."""

from minitik_dagster.publishing.pause_queries import PAUSED
from minitik_dagster.publishing.queries import NOW

# One round trip for all that our own tables know; NULL where there is nothing to read.
READINGS = f"""
SELECT
    (SELECT count(*) FROM dead_letters WHERE "createdAt" >= {NOW} - interval '10 minutes')
        AS "publish.failed",
    (SELECT count(*) FROM (SELECT 1 FROM publications p
        WHERE p.stage IN ('scheduled','preparing','prepared') AND p."dueAt" <= {NOW}
        AND (p."leaseExpiresAt" IS NULL OR p."leaseExpiresAt" < {NOW}) AND NOT {PAUSED}
        LIMIT 10000) w) AS "publish.waiting",
    (SELECT count(*) FROM accounts WHERE "refreshFailedAt" >= {NOW} - interval '1 hour')
        AS "token-refresh.failed",
    (SELECT count(*) FROM dead_letters WHERE "resolvedAt" IS NULL) AS "dead-letters.open",
    (SELECT count(*) FROM publications p JOIN publication_steps s ON s."publicationId" = p.id
        AND s."canPublish" AND s."endedAt" IS NULL
        WHERE p.stage IN ('unknown','committing') AND s."startedAt" < {NOW} - interval '1 hour')
        AS "publish.unknown",
    (SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM
        "committedAt" - "dueAt")) FROM publications
        WHERE "committedAt" >= {NOW} - interval '1 hour') AS "publish.late",
    (SELECT count(*) FROM dispatchers WHERE "heartbeatAt" BETWEEN {NOW} - interval '1 hour'
        AND {NOW} - interval '2 minutes'
        AND ("endedAt" IS NULL OR "endedAt" = "heartbeatAt")) AS "dispatchers.died",
    (SELECT CAST(value ->> 'failing' AS integer) FROM settings WHERE key = 'forecast'
        AND "updatedAt" >= {NOW} - interval '2 days') AS "forecast.failing",
    (SELECT extract(epoch FROM {NOW} - min(GREATEST("createdAt",
        CAST(rtrim(payload ->> 'heldUntil', 'Z') AS timestamp)))) FROM outbox WHERE "doneAt" IS NULL
        AND kind <> 'dispatcher.window' AND payload ->> 'site' IS NULL) AS "outbox.age",
    (SELECT count(*) FROM quarantined_publications r JOIN publications p
        ON p.id = r."publicationId" AND p.stage = 'review' AND p."errorCode" = 'restored')
        AS "restore.review",
    (SELECT extract(epoch FROM {NOW} - "updatedAt") FROM settings WHERE key = 'epoch:mirrored')
        AS "epoch.unmirrored",
    (SELECT extract(epoch FROM {NOW} - "updatedAt") FROM settings WHERE key = 'alerts:sensor')
        AS "dagster.silent"
"""

SENSOR_LOOKED = f"""
INSERT INTO settings (key, value, "updatedAt") VALUES ('alerts:sensor', 'true', {NOW})
ON CONFLICT (key) DO UPDATE SET "updatedAt" = EXCLUDED."updatedAt"
"""

# A change of level is told at once, the same level again by its schedule.
UNTOLD = f"""
SELECT id, key, level, message, "notifiedLevel" AS told FROM alerts
WHERE "resolvedAt" IS NULL AND ("notifiedLevel" IS DISTINCT FROM level
    OR "notifiedAt" < {NOW} - CASE level WHEN 'critical' THEN CAST(:critical_every AS interval)
        ELSE CAST(:warning_every AS interval) END)
UNION ALL
SELECT id, key, level, message, "notifiedLevel" FROM alerts
WHERE "resolvedAt" >= {NOW} - interval '1 day' AND "notifiedLevel" <> 'resolved'
ORDER BY key
"""

TOLD = f"""
UPDATE alerts SET "notifiedAt" = {NOW},
    "notifiedLevel" = CASE WHEN "resolvedAt" IS NULL THEN level ELSE 'resolved' END
WHERE id = :id RETURNING "resolvedAt" IS NOT NULL AS resolved
"""

"""The SQL of alerts: one open row per key; a change is told once."""

from minitik_dagster.publishing.queries import NOW

# Held to the end of the transaction: of many API processes one looks at a time.
LEAD = "SELECT pg_try_advisory_xact_lock(:key) AS leads"

OPEN_ALERT = """
SELECT id, level FROM alerts WHERE key = :key AND "resolvedAt" IS NULL FOR UPDATE
"""

RAISE_ALERT = f"""
INSERT INTO alerts (id, key, level, message, detail, "openedAt", "lastSeenAt")
VALUES (:row_id, :key, :level, :message, CAST(:detail AS jsonb), {NOW}, {NOW})
ON CONFLICT (key) WHERE "resolvedAt" IS NULL DO UPDATE SET level = EXCLUDED.level,
    message = EXCLUDED.message, detail = EXCLUDED.detail, "lastSeenAt" = EXCLUDED."lastSeenAt"
"""

RESOLVE_ALERT = f"""
UPDATE alerts SET "resolvedAt" = {NOW} WHERE key = :key AND "resolvedAt" IS NULL RETURNING id
"""

LIST_ALERTS = """
SELECT key, level, message, "openedAt" AS opened_at, "lastSeenAt" AS last_seen_at,
    "resolvedAt" AS resolved_at
FROM alerts WHERE CAST(:everything AS boolean) OR "resolvedAt" IS NULL
ORDER BY "openedAt" DESC LIMIT :limit
"""

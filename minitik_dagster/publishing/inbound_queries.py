"""The SQL of platforms' own events: stored once, and what each may change."""

from minitik_dagster.publishing.queries import NOW

CLOCK = f"SELECT {NOW} AS now"

# A refresh awaits its platform under the account's row lock. A delivery does not wait so long: it is
# refused with nothing stored, and TikTok sends it again.
SHORT_WAIT = "SET LOCAL lock_timeout = '3s'"

# The digest is unique: a second delivery waits for the first one's end and then finds it stored.
STORE = f"""
INSERT INTO inbound_events (id, platform, event, digest, payload, "receivedAt")
VALUES (:row_id, 'TIKTOK', :event, :digest, CAST(:payload AS jsonb), {NOW})
ON CONFLICT (digest) DO NOTHING
RETURNING id
"""

HANDLED = f"""
UPDATE inbound_events SET "handledAt" = {NOW}, outcome = :outcome WHERE id = :row_id
"""

ACCOUNTS_OF = """
SELECT id, status = 'CONNECTED' AS connected,
    COALESCE("tokenIssuedAt", "connectedAt") AS granted_at
FROM accounts WHERE platform = 'TIKTOK' AND "platformAccountId" = :open_id
ORDER BY id FOR UPDATE
"""

# Only what has been sent waits for the platform's word. Of the rows under a lease the owner learns when
# it hands back (queries.HEED). A live post whose public id is known is looked at when it is said to be
# gone (`gone`), and not when it is said to be there.
HASTEN = f"""
WITH told AS (
    SELECT p.id FROM handles h
    JOIN publications p ON p.id = h."publicationId"
    JOIN accounts a ON a.id = p."accountId"
    WHERE h.platform = 'TIKTOK' AND h."externalId" = :publish_id
      AND a."platformAccountId" = :open_id
      AND (p.stage IN ('confirming','unknown')
           OR (p.stage = 'live' AND (p."platformPostId" IS NULL OR CAST(:gone AS boolean))))
    ORDER BY p.id FOR UPDATE OF p
)
UPDATE publications p SET "nextAttemptAt" = {NOW}, "updatedAt" = {NOW}
FROM told WHERE p.id = told.id
RETURNING p.id
"""

# The dispatcher's channel; the payload names whose wait ends in a dispatcher that is asking now.
WAKE = "SELECT pg_notify('minitik_due', CAST(:id AS text))"

FORGET = f"""
DELETE FROM inbound_events WHERE "receivedAt" < {NOW} - CAST(:kept AS interval)
"""

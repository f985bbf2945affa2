"""The SQL of upkeep: what has ended, by each kind's own age, and whose media nobody needs."""

from typing import Final

from minitik_dagster.publishing.queries import NOW

EXPIRED: Final[dict[str, str]] = {
    "idempotency keys": f'DELETE FROM idempotency_keys WHERE "expiresAt" < {NOW} RETURNING 1',
    "connection states": (
        f"DELETE FROM oauth_states WHERE \"expiresAt\" < {NOW} - interval '1 day' RETURNING 1"
    ),
    # A notice is not repeated within 30 days of an earlier one: its row must last longer.
    "messages that left": (
        f"DELETE FROM outbox WHERE \"doneAt\" < {NOW} - interval '60 days' RETURNING 1"
    ),
    "dispatchers": (
        f"DELETE FROM dispatchers WHERE \"heartbeatAt\" < {NOW} - interval '30 days' RETURNING 1"
    ),
    "failures of runs": (
        f"DELETE FROM dagster_failures WHERE \"failedAt\" < {NOW} - interval '90 days' RETURNING 1"
    ),
    "alerts": (
        f"DELETE FROM alerts WHERE \"resolvedAt\" < {NOW} - interval '365 days' RETURNING 1"
    ),
}
# A deleted content's media goes when nothing can need it any more; what the tables do not know at all
# stays: behind a restored database it may be somebody's newest video.
JUDGE = f"""
SELECT k.key, c.id IS NOT NULL AS known,
    c."deletedAt" < {NOW} - CAST(:kept AS interval) AND NOT EXISTS (
        SELECT 1 FROM publications p WHERE p."contentId" = c.id
        AND p.stage NOT IN ('live','removed','failed','cancelled')) AS orphaned
FROM unnest(CAST(:keys AS text[]), CAST(:contents AS text[])) AS k (key, content)
LEFT JOIN contents c ON c.id = k.content
"""

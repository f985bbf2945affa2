"""Which keys and sessions are still good: asked again for streams that outlast a request."""

from typing import Final

STILL_GOOD: Final = """
SELECT k.id FROM api_keys k JOIN users u ON u.id = k."userId"
WHERE k.id = ANY(:ids) AND k."revokedAt" IS NULL AND u."deletedAt" IS NULL
    AND (k."expiresAt" IS NULL OR k."expiresAt" > statement_timestamp() AT TIME ZONE 'UTC')
UNION ALL
SELECT s.id FROM sessions s JOIN users u ON u.id = s."userId"
WHERE s.id = ANY(:ids) AND u."deletedAt" IS NULL
    AND s.expires > statement_timestamp() AT TIME ZONE 'UTC'
"""

"""The SQL of handles: one active per publication (engine.md R2), written behind the lease's fence."""

from minitik_dagster.publishing.queries import FENCE, NOW
from minitik_dagster.scheduling.discard_queries import NOTE_DISCARDS

# `maybe_sent`: a commit on it left us and was not answered by a documented refusal (engine.md R2).
LOAD_HANDLES = """
SELECT h.id, h.state, h.revision, h."externalId" AS external_id, h.sealed, h.progress,
    h."expiresAt" AS expires_at,
    EXISTS (SELECT 1 FROM publication_steps s WHERE s."handleId" = h.id AND s."canPublish"
        AND s.outcome IN ('unknown','not_published','handle_dead')) AS maybe_sent
FROM handles h WHERE h."publicationId" = :id ORDER BY h."createdAt"
"""

# How often a handle was asked for in the last 24 h, whatever came of it.
HANDLE_MAKERS = f"""
SELECT count(*) AS made, max("startedAt") AS last FROM publication_steps
WHERE "publicationId" = :id AND name IN ('init','container','session')
  AND "startedAt" > {NOW} - interval '24 hours'
"""

DROP_ACTIVE_HANDLE = f"""
WITH dropped AS (
    UPDATE handles h SET state = :state, "updatedAt" = {NOW}
    FROM publications p
    WHERE h."publicationId" = :id AND h.state = 'active' AND p.id = h."publicationId"
      AND p."leaseOwner" = :owner AND p."leaseToken" = :token
    RETURNING h.id, h.platform, h.state
)
{NOTE_DISCARDS}
"""

# Fenced: a dispatcher that lost its lease stores no handle. Said again when its COMMIT was lost.
OPEN_HANDLE = f"""
INSERT INTO handles (id, "publicationId", "accountId", platform, state, revision, "externalId",
    sealed, progress, "expiresAt", "createdAt", "updatedAt")
SELECT :handle_id, p.id, p."accountId", p.platform, 'active', p.revision, :external_id, :sealed,
    CAST(:progress AS jsonb), :expires_at, {NOW}, {NOW}
FROM publications p WHERE p.id = :id AND {FENCE}
ON CONFLICT (id) DO UPDATE SET "updatedAt" = EXCLUDED."updatedAt"
RETURNING id
"""

SAVE_HANDLE = f"""
UPDATE handles h SET "externalId" = :external_id, sealed = :sealed,
    progress = CAST(:progress AS jsonb), "expiresAt" = :expires_at, "updatedAt" = {NOW}
FROM publications p
WHERE h.id = :handle_id AND p.id = h."publicationId"
  AND p."leaseOwner" = :owner AND p."leaseToken" = :token
RETURNING h.id
"""

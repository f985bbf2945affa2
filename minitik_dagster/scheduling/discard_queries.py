"""The SQL that drops handles and notes what must be discarded with them, in one transaction."""

from typing import Final

KIND: Final = "discard_handle"
_NOW = "(statement_timestamp() AT TIME ZONE 'UTC')"

# Reads the rows (id, platform, state) of a CTE `dropped`. One message per handle; a handle that was
# taken up again by a replay and dropped anew renews its own.
NOTE_DISCARDS: Final = f"""
INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
SELECT 'discard:' || d.id, '{KIND}', jsonb_build_object('handleId', d.id), {_NOW}, 0, {_NOW}
FROM dropped d WHERE d.platform = 'YOUTUBE' AND d.state = 'dropped'
ON CONFLICT (id) DO UPDATE SET "dueAt" = EXCLUDED."dueAt", "createdAt" = EXCLUDED."createdAt",
    attempts = 0, error = NULL, "doneAt" = NULL
"""

# For rows whose lock the caller holds and that have no open commit.
DROP_HANDLES: Final = f"""
WITH dropped AS (
    UPDATE handles SET state = 'dropped', "updatedAt" = {_NOW}
    WHERE "publicationId" = ANY(CAST(:ids AS text[])) AND state = 'active'
    RETURNING id, "publicationId", platform, state
), noted AS ({NOTE_DISCARDS})
SELECT "publicationId" AS publication_id, platform FROM dropped ORDER BY "publicationId"
"""

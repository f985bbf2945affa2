"""The SQL of disconnecting: mark the account, note what follows, and claim such notes."""

from typing import Final

from minitik_dagster.publishing.queries import NOW
from minitik_dagster.scheduling.discard_queries import KIND as DISCARD_KIND

KIND: Final = "leave_account"

FIND_ACCOUNT: Final = """
SELECT "userId" AS user_id, platform FROM accounts
WHERE id = :account_id AND (CAST(:user_id AS text) IS NULL OR "userId" = :user_id)
"""

LOCK_USER: Final = """
SELECT 1 FROM users WHERE id = :user_id FOR NO KEY UPDATE
"""

# In the order of their ids, before the publications: as roll-ups take them.
LOCK_CONTENTS: Final = """
SELECT id FROM contents WHERE id IN (
    SELECT "contentId" FROM publications WHERE "accountId" = :account_id
        AND stage NOT IN ('live','removed','failed','cancelled'))
ORDER BY id FOR UPDATE
"""

MARK: Final = f"""
UPDATE accounts SET status = 'REVOKED', "disconnectedAt" = {NOW}
WHERE id = :account_id AND (status <> 'REVOKED' OR "disconnectedAt" IS NULL)
RETURNING id
"""

# The instant identifies this disconnect: after a reconnect the note means nothing any more.
NOTE_LEAVE: Final = f"""
INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
SELECT :message_id, '{KIND}',
    jsonb_build_object('accountId', a.id, 'disconnectedAt', a."disconnectedAt"), {NOW}, 0, {NOW}
FROM accounts a WHERE a.id = :account_id
"""

# `undoing`: what was prepared on the account is still being taken away, and needs its token.
CLAIM_LEAVES: Final = f"""
WITH due AS (
    SELECT o.id FROM outbox o
    WHERE o."doneAt" IS NULL AND o."dueAt" <= {NOW} AND o.kind = '{KIND}'
    ORDER BY o."dueAt" LIMIT :limit
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE outbox o SET attempts = o.attempts + 1, "dueAt" = {NOW} + CAST(:busy_for AS interval)
    FROM due WHERE o.id = due.id
    RETURNING o.id, o.attempts, o."createdAt", o.payload ->> 'accountId' AS account_id,
        CAST(o.payload ->> 'disconnectedAt' AS timestamp) AS disconnected_at
)
SELECT c.id, c.attempts, c."createdAt" AS created_at, c.account_id, c.disconnected_at, a.platform,
    EXISTS (SELECT 1 FROM outbox d JOIN handles h ON h.id = d.payload ->> 'handleId'
        WHERE d."doneAt" IS NULL AND d.kind = '{DISCARD_KIND}' AND h."accountId" = c.account_id
    ) AS undoing
FROM claimed c
LEFT JOIN accounts a ON a.id = c.account_id
"""

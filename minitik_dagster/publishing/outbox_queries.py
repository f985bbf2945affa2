"""The SQL of the outbox: claim what is due, note how it went."""

from minitik_dagster.publishing.leaving_queries import KIND as LEAVE_KIND
from minitik_dagster.publishing.queries import CLAIMED_VIEW, NOW
from minitik_dagster.scheduling.discard_queries import KIND

# A claim is the row's own dueAt, pushed ahead: a crash makes it due again. The handle is burned in the
# same transaction, so that no replay can take it up while it is being discarded; one that a replay has
# taken up already is left alone (`free` is false). SKIP LOCKED divides the rows between dispatchers.
CLAIM_DISCARDS = f"""
WITH due AS (
    SELECT o.id FROM outbox o
    WHERE o."doneAt" IS NULL AND o."dueAt" <= {NOW} AND o.kind = '{KIND}'
    ORDER BY o."dueAt" LIMIT :limit
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE outbox o SET attempts = o.attempts + 1, "dueAt" = {NOW} + CAST(:busy_for AS interval)
    FROM due WHERE o.id = due.id
    RETURNING o.id, o.attempts, o."createdAt", o.payload ->> 'handleId' AS handle_id
), burned AS (
    UPDATE handles h SET state = 'dead', "updatedAt" = {NOW}
    FROM claimed c WHERE h.id = c.handle_id AND h.state = 'dropped'
    RETURNING h.id
)
SELECT c.id, c.attempts, c."createdAt" AS created_at, c.handle_id,
    h."publicationId" AS publication_id, b.id IS NOT NULL OR h.state = 'dead' AS free
FROM claimed c
JOIN handles h ON h.id = c.handle_id
LEFT JOIN burned b ON b.id = c.handle_id
"""

# The sensor's question: is any discard, or any account that is to be left, waiting that no live dispatcher
# will take? Walks the partial index on dueAt, which holds what is not done only; dispatchers' windows in it
# are shown within a minute.
DISCARDS_WAITING = f"""
SELECT count(*) AS waiting FROM (
    SELECT 1 FROM outbox o
    WHERE o."doneAt" IS NULL AND o.kind IN ('{KIND}','{LEAVE_KIND}')
      AND o."dueAt" <= {NOW} - CAST(:patience AS interval)
      AND NOT EXISTS (
          SELECT 1 FROM dispatchers d
          WHERE d."endedAt" IS NULL AND d."heartbeatAt" > {NOW} - CAST(:silence AS interval)
            AND (d."windowEndsAt" IS NULL OR d."windowEndsAt" > {NOW} + interval '20 seconds'))
    ORDER BY o."dueAt" LIMIT :limit
) w
"""

SUBJECT = f"""
WITH claimed AS (SELECT p.* FROM publications p WHERE p.id = :id)
{CLAIMED_VIEW}"""

DONE = f"""
UPDATE outbox SET "doneAt" = {NOW}, error = :note WHERE id = :message_id
"""

# Whether the handle's account was disconnected.
LEAVING = """
SELECT 1 FROM handles h JOIN accounts a ON a.id = h."accountId"
WHERE h.id = :handle_id AND a.status = 'REVOKED' AND a."disconnectedAt" IS NOT NULL
"""

AGAIN = """
UPDATE outbox SET "dueAt" = :at, error = :note WHERE id = :message_id
"""

# Ledger rows of a call that is no part of the publication's own way: without the lease's fence.
BEGIN_STEP = f"""
INSERT INTO publication_steps (id, "publicationId", "accountId", platform, "handleId", name,
    attempt, "canPublish", "leaseToken", revision, "startedAt", "policyVersion")
SELECT :step_id, p.id, p."accountId", p.platform, :handle_id, :name,
    (SELECT count(*) + 1 FROM publication_steps o
        WHERE o."publicationId" = p.id AND o.name = :name),
    false, COALESCE(p."leaseToken", 0), COALESCE(p.revision, 0), {NOW}, :policy_version
FROM publications p WHERE p.id = :id
"""

END_STEP = f"""
UPDATE publication_steps SET "endedAt" = {NOW}, outcome = :outcome, "platformCode" = :code,
    "requestId" = :request_id, detail = CAST(:detail AS jsonb)
WHERE id = :step_id AND "endedAt" IS NULL
"""

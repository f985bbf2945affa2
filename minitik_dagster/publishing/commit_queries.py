"""The SQL of the commits' ledger rows: opened ahead of the instant, ended by what the platform said.

The rules of `queries` hold here too: READ COMMITTED, PostgreSQL's time, the lease's fence.
"""

from minitik_dagster.notifications.event_queries import changes
from minitik_dagster.publishing.pause_queries import PAUSED
from minitik_dagster.publishing.queries import FENCE, NOW

# Opens the ledger rows of many commits in one transaction, some 0.5 s before their instant. The row
# lock is the one that edit, move, cancel and pause take too (R6). ON CONFLICT DO NOTHING: the partial
# unique indexes refuse a second open commit of a publication or of an Instagram account.
OPEN_COMMITS = f"""
WITH asked AS (
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:tokens AS bigint[]),
        CAST(:step_ids AS text[]), CAST(:handle_ids AS text[]), CAST(:versions AS text[]))
        AS t(id, token, step_id, handle_id, version)
), locked AS (
    SELECT p.id, p."accountId", p.platform, p.revision, p."leaseToken", p.priority, p."dueAt",
        k.step_id, k.handle_id, k.version
    FROM publications p
    JOIN asked k ON k.id = p.id
    JOIN handles h ON h.id = k.handle_id AND h.state = 'active' AND h.revision = p.revision
    JOIN accounts c ON c.id = p."accountId" AND c.status = 'CONNECTED'
    WHERE p."leaseOwner" = :owner AND p."leaseToken" = k.token AND p.stage = 'prepared'
      AND NOT {PAUSED}
    ORDER BY p.id
    FOR UPDATE OF p
), opened AS (
    INSERT INTO publication_steps (id, "publicationId", "accountId", platform, "handleId", name,
        attempt, "canPublish", "leaseToken", revision, "startedAt", "sendBy", "policyVersion")
    SELECT l.step_id, l.id, l."accountId", l.platform, l.handle_id, 'commit',
        (SELECT count(*) + 1 FROM publication_steps o
            WHERE o."publicationId" = l.id AND o."canPublish"),
        true, l."leaseToken", l.revision, {NOW},
        GREATEST({NOW}, l."dueAt") + CAST(:send_deadline AS interval), l.version
    FROM locked l ORDER BY l.priority DESC, l."dueAt", l.id
    ON CONFLICT DO NOTHING
    RETURNING id, "publicationId", "startedAt", "sendBy"
), moved AS (
    UPDATE publications p SET stage = 'committing', status = 'PUBLISHING',
        attempts = COALESCE(p.attempts, 0) + 1, "nextAttemptAt" = NULL, "updatedAt" = {NOW}
    FROM opened o WHERE p.id = o."publicationId"
    RETURNING p.*
), {changes("moved")}
SELECT l.id, l.step_id, o.id IS NOT NULL AS opened, o."startedAt" AS started_at,
    o."sendBy" AS send_by, a."accessToken" AS access_token,
    a."tokenExpiresAt" AS token_expires_at
FROM locked l
JOIN accounts a ON a.id = l."accountId"
LEFT JOIN opened o ON o.id = l.step_id
"""

# When the answer to OPEN_COMMITS' own COMMIT was lost (R5): send only what is there, open and ours.
REREAD_COMMITS = """
SELECT s.id AS step_id, s."startedAt" AS started_at, s."sendBy" AS send_by,
    a."accessToken" AS access_token, a."tokenExpiresAt" AS token_expires_at
FROM publication_steps s
JOIN publications p ON p.id = s."publicationId"
JOIN accounts a ON a.id = p."accountId"
WHERE s.id = ANY(CAST(:step_ids AS text[])) AND s."endedAt" IS NULL
  AND p."leaseOwner" = :owner AND p."leaseToken" = s."leaseToken"
"""

# Records many accepted commits in one transaction.
ACCEPT_COMMITS = f"""
WITH told AS (
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:tokens AS bigint[]),
        CAST(:step_ids AS text[]), CAST(:sent AS timestamp[]), CAST(:answered AS timestamp[]),
        CAST(:codes AS text[]), CAST(:request_ids AS text[]), CAST(:post_ids AS text[]),
        CAST(:permalinks AS text[]))
        AS t(id, token, step_id, sent, answered, code, request_id, post_id, permalink)
), held AS (
    SELECT p.id FROM publications p JOIN told t ON t.id = p.id
    WHERE p."leaseOwner" = :owner AND p."leaseToken" = t.token
    ORDER BY p.id FOR UPDATE OF p
), ended AS (
    UPDATE publication_steps s SET "endedAt" = {NOW}, "sentAt" = t.sent, outcome = 'ok',
        "platformCode" = t.code, "requestId" = t.request_id
    FROM told t JOIN held h ON h.id = t.id
    WHERE s.id = t.step_id AND s."endedAt" IS NULL
    RETURNING s."publicationId"
), moved AS (
    UPDATE publications p SET stage = 'confirming', status = 'PUBLISHING',
        "committedAt" = t.sent, "acceptedAt" = t.answered, "nextAttemptAt" = NULL,
        error = NULL, "errorCode" = NULL, "errorFix" = NULL, "updatedAt" = {NOW},
        "platformPostId" = COALESCE(t.post_id, p."platformPostId"),
        permalink = COALESCE(t.permalink, p.permalink)
    FROM told t JOIN ended e ON e."publicationId" = t.id
    WHERE p.id = t.id
    RETURNING p.*
), {changes("moved")}, bound AS (
    INSERT INTO posts (id, "publicationId", "accountId", platform, "platformPostId", permalink,
        via, "foundAt")
    SELECT t.step_id, p.id, p."accountId", p.platform, t.post_id, t.permalink, 'commit', {NOW}
    FROM told t JOIN ended e ON e."publicationId" = t.id JOIN publications p ON p.id = t.id
    WHERE t.post_id IS NOT NULL
    ON CONFLICT DO NOTHING
), used AS (
    UPDATE handles h SET state = 'used', "updatedAt" = {NOW}
    FROM ended e WHERE h."publicationId" = e."publicationId" AND h.state = 'active'
)
SELECT "publicationId" AS id FROM ended
"""

ACCEPTED_ALREADY = """
SELECT "publicationId" AS id FROM publication_steps
WHERE id = ANY(CAST(:step_ids AS text[])) AND outcome = 'ok'
"""

# Ends or marks one commit step; `ended` false leaves it open with outcome unknown.
CLOSE_COMMIT = f"""
UPDATE publication_steps s SET
    "endedAt" = CASE WHEN CAST(:ended AS boolean) THEN {NOW} END,
    "sentAt" = COALESCE(CAST(:sent AS timestamp), s."sentAt"),
    outcome = :outcome, "platformCode" = COALESCE(:code, s."platformCode"),
    "requestId" = COALESCE(:request_id, s."requestId"),
    detail = COALESCE(CAST(:detail AS jsonb), s.detail)
FROM publications p
WHERE s.id = :step_id AND s."endedAt" IS NULL AND p.id = s."publicationId"
  AND p."leaseOwner" = :owner AND p."leaseToken" = :token
RETURNING s.id
"""

# In the transaction that moves the publication to review, under its fence.
CLOSE_AS_UNKNOWN = f"""
UPDATE publication_steps SET "endedAt" = {NOW}, outcome = 'unknown'
WHERE id = :step_id AND "endedAt" IS NULL
"""

# The reconciler found that an open commit did happen: ends it as a success under the lease.
ADOPT_COMMIT = f"""
WITH held AS (
    SELECT p.id FROM publications p WHERE p.id = :id AND {FENCE} FOR UPDATE
), ended AS (
    UPDATE publication_steps s SET "endedAt" = {NOW}, outcome = 'ok', "platformCode" = :code,
        detail = COALESCE(s.detail, CAST('{{}}' AS jsonb)) || CAST('{{"via":"reconciler"}}' AS jsonb)
    FROM held h
    WHERE s.id = :step_id AND s."endedAt" IS NULL AND s."publicationId" = h.id
    RETURNING s."publicationId", s."handleId"
), used AS (
    -- The handle that was asked about, even one that had been called dead.
    UPDATE handles h SET state = 'used', "updatedAt" = {NOW}
    FROM ended e WHERE h.id = e."handleId"
), moved AS (
    UPDATE publications p SET stage = 'confirming', status = 'PUBLISHING',
        "committedAt" = :sent, "acceptedAt" = {NOW}, "nextAttemptAt" = NULL, error = NULL,
        "errorCode" = NULL, "errorFix" = NULL, "updatedAt" = {NOW},
        "platformPostId" = COALESCE(:post_id, p."platformPostId"),
        permalink = COALESCE(:permalink, p.permalink)
    FROM ended e WHERE p.id = e."publicationId"
    RETURNING p.*
), {changes("moved")}
SELECT id FROM moved
"""

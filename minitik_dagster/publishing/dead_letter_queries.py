"""The SQL of dead letters: written with the failure, read, judged, resolved."""

from minitik_dagster.publishing.queries import NOW
from minitik_dagster.scheduling.discard_queries import NOTE_DISCARDS

# The whole story in the transaction that fails the publication: its ledger with the platform's codes,
# request ids and words. Answers stand in the ledger redacted already.
DEAD_LETTER = f"""
INSERT INTO dead_letters (id, "publicationId", "contentId", "accountId", platform, code, reason,
    fix, story, "createdAt")
SELECT :letter_id, p.id, p."contentId", p."accountId", p.platform, :code, :reason, :fix,
    COALESCE((SELECT jsonb_agg(jsonb_build_object('name', s.name, 'attempt', s.attempt,
        'startedAt', s."startedAt", 'sentAt', s."sentAt", 'endedAt', s."endedAt",
        'canPublish', s."canPublish", 'outcome', s.outcome, 'platformCode', s."platformCode",
        'requestId', s."requestId", 'policyVersion', s."policyVersion", 'detail', s.detail)
        ORDER BY s."startedAt", s.id) FROM publication_steps s WHERE s."publicationId" = p.id),
        CAST('[]' AS jsonb)), {NOW}
FROM publications p WHERE p.id = :id
"""

# `open` letters only, unless ids are named: a letter that was asked for by name is always told of.
_WHERE = """
FROM dead_letters d
JOIN publications p ON p.id = d."publicationId"
JOIN accounts a ON a.id = d."accountId"
JOIN contents t ON t.id = d."contentId"
WHERE (CAST(:ids AS text[]) IS NULL OR d.id = ANY(CAST(:ids AS text[]))
       OR d."publicationId" = ANY(CAST(:ids AS text[])))
  AND (CAST(:user_id AS text) IS NULL OR t."userId" = :user_id)
  AND (CAST(:code AS text) IS NULL OR d.code = :code)
  AND (CAST(:platform AS text) IS NULL OR d.platform = CAST(:platform AS "Platform"))
  AND (CAST(:since AS timestamp) IS NULL OR d."createdAt" >= CAST(:since AS timestamp))
  AND (CAST(:until AS timestamp) IS NULL OR d."createdAt" < CAST(:until AS timestamp))
  AND (CAST(:all AS boolean) OR d."resolvedAt" IS NULL)
"""

LIST = f"""
SELECT d.id, d."publicationId" AS publication_id, d."contentId" AS content_id,
    d."accountId" AS account_id, a."platformUsername" AS username, d.platform, d.code, d.reason,
    d.fix, d.story, d."createdAt" AS created_at, d."resolvedAt" AS resolved_at, d.resolution,
    p.stage, p."dueAt" AS due_at, t.title
{_WHERE}
ORDER BY d."createdAt" DESC, d.id DESC LIMIT :limit
"""

# One letter per publication, its newest: the older ones tell of failures that were replayed.
CHOOSE = f"""
SELECT DISTINCT ON (d."contentId", d."publicationId") d.id AS letter_id,
    d."publicationId" AS publication_id, d."contentId" AS content_id
{_WHERE}
ORDER BY d."contentId", d."publicationId", d."createdAt" DESC LIMIT :limit
"""

# Everything that decides about a replay, read again under the row's lock before it is done.
# `sent`: the last commit that may have left us: any but one that was closed unsent.
EVIDENCE = """
SELECT d.id AS letter_id, d.code, d."resolvedAt" IS NOT NULL AS resolved, d.resolution,
    p.id AS publication_id, p."contentId" AS content_id, p."accountId" AS account_id,
    p."scheduledJobId" AS job_id, p.platform, p.stage, p."dueAt" AS due_at,
    p."maxLateness" AS max_lateness, a.status AS account_status,
    a."platformUsername" AS username, t."fileSize" AS media_size,
    t."deletedAt" IS NOT NULL OR t."filePath" IS NULL AS content_gone,
    EXISTS (SELECT 1 FROM publication_steps s WHERE s."publicationId" = p.id
        AND s."canPublish" AND s.outcome = 'ok') AS accepted,
    (SELECT COALESCE(o.stage, lower(CAST(o.status AS text))) || ' ' || o.id FROM publications o
        WHERE o."contentId" = p."contentId" AND o."accountId" = p."accountId" AND o.id <> p.id
          AND o."createdAt" > p."createdAt"
          AND (o.stage NOT IN ('cancelled','removed')
               OR o.stage IS NULL AND o.status <> 'FAILED')
        ORDER BY o."createdAt" DESC LIMIT 1) AS replaced_by,
    s.id AS sent_step, s."handleId" AS sent_handle
FROM dead_letters d
JOIN publications p ON p.id = d."publicationId"
JOIN accounts a ON a.id = p."accountId"
JOIN contents t ON t.id = p."contentId"
LEFT JOIN LATERAL (
    SELECT c.id, c."handleId" FROM publication_steps c
    WHERE c."publicationId" = p.id AND c."canPublish"
      AND COALESCE(c.outcome, 'unknown') <> 'not_sent'
    ORDER BY c."startedAt" DESC, c.id DESC LIMIT 1
) s ON true
WHERE d.id = :letter_id
"""

LOCK = "SELECT 1 FROM publications WHERE id = :publication_id FOR UPDATE"

# Nothing was ever accepted or sent: a new handle is made under the new revision (engine.md R2, R6).
BACK_TO_SCHEDULED = f"""
UPDATE publications SET stage = 'scheduled', status = 'QUEUED', attempts = 0,
    revision = COALESCE(revision, 0) + 1, "leaseToken" = COALESCE("leaseToken", 0) + 1,
    "nextAttemptAt" = CASE WHEN CAST(:at AS timestamp) IS NULL THEN {NOW} END,
    "dueAt" = COALESCE(CAST(:at AS timestamp), "dueAt"),
    "prepareAt" = COALESCE(CAST(:prepare_at AS timestamp), "prepareAt"),
    "maxLateness" = COALESCE(:max_lateness, "maxLateness"),
    error = NULL, "errorCode" = NULL, "errorFix" = NULL, "holdReason" = NULL, "updatedAt" = {NOW}
WHERE id = :publication_id AND stage = 'failed'
RETURNING id
"""

# A commit left us once: the reconciler asks by its handle before anything else is done, as after a
# crash. Revision and handle stay; only what the platform says is not published is committed again.
BACK_TO_UNKNOWN = f"""
UPDATE publications SET stage = 'unknown', status = 'PUBLISHING', attempts = 0,
    "leaseToken" = COALESCE("leaseToken", 0) + 1, "nextAttemptAt" = {NOW},
    "dueAt" = COALESCE(CAST(:at AS timestamp), "dueAt"),
    "prepareAt" = COALESCE(CAST(:prepare_at AS timestamp), "prepareAt"),
    "maxLateness" = COALESCE(:max_lateness, "maxLateness"),
    error = NULL, "errorCode" = NULL, "errorFix" = NULL, "holdReason" = NULL, "updatedAt" = {NOW}
WHERE id = :publication_id AND stage = 'failed'
RETURNING id
"""

# An open step of its own, so that the ledger keeps what was written; sendBy is the old call's, so
# that the settle time has passed. Refused while another post of an Instagram account is being sent.
ASK_AGAIN = f"""
INSERT INTO publication_steps (id, "publicationId", "accountId", platform, "handleId", name,
    attempt, "canPublish", "leaseToken", revision, "startedAt", "sendBy", "sentAt", "policyVersion",
    detail)
SELECT :step_id, p.id, p."accountId", p.platform, s."handleId", 'recheck',
    (SELECT count(*) + 1 FROM publication_steps o
        WHERE o."publicationId" = p.id AND o.name = 'recheck'),
    true, p."leaseToken", p.revision, {NOW}, COALESCE(s."sendBy", {NOW}),
    COALESCE(s."sentAt", s."startedAt"), s."policyVersion",
    jsonb_build_object('asksAbout', s.id)
FROM publication_steps s JOIN publications p ON p.id = s."publicationId"
WHERE s.id = :sent_step
  AND NOT EXISTS (SELECT 1 FROM publication_steps o WHERE o."publicationId" = p.id
      AND o."canPublish" AND o."endedAt" IS NULL)
ON CONFLICT DO NOTHING
RETURNING id
"""

OPEN_COMMIT = """
SELECT 1 FROM publication_steps
WHERE "publicationId" = :publication_id AND "canPublish" AND "endedAt" IS NULL
"""

# The handle that is asked about is the active one; a later one was never sent and is let go.
DROP_OTHER_HANDLES = f"""
WITH dropped AS (
    UPDATE handles SET state = 'dropped', "updatedAt" = {NOW}
    WHERE "publicationId" = :publication_id AND state = 'active' AND id <> :handle_id
    RETURNING id, platform, state
)
{NOTE_DISCARDS}
"""
# One that is dead or being discarded is asked about, and never committed again.
ACTIVATE_HANDLE = f"""
UPDATE handles SET state = 'active', "updatedAt" = {NOW}
WHERE id = :handle_id AND state <> 'dead'
"""

RESOLVE = f"""
UPDATE dead_letters SET "resolvedAt" = {NOW}, resolution = :resolution
WHERE "publicationId" = :publication_id AND "resolvedAt" IS NULL
"""

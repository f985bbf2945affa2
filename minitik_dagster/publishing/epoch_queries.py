"""The SQL of epochs and quarantines: how far the database has come, and what it may have forgotten."""

from minitik_dagster.publishing.queries import NOW

EPOCH = """
SELECT value ->> 'database' AS database, CAST(value ->> 'epoch' AS bigint) AS number,
    "updatedAt" AS at
FROM settings WHERE key = 'epoch'
"""
LOCKED_EPOCH = f"{EPOCH} FOR UPDATE"

# One process raises it each minute, whoever comes first; the others find it raised.
TICK = f"""
INSERT INTO settings (key, value, "updatedAt")
VALUES ('epoch', jsonb_build_object('database', CAST(:database AS text), 'epoch', 1), {NOW})
ON CONFLICT (key) DO UPDATE SET "updatedAt" = {NOW}, value = jsonb_set(settings.value, '{{epoch}}',
    to_jsonb(CAST(settings.value ->> 'epoch' AS bigint) + 1))
WHERE settings."updatedAt" <= {NOW} - CAST(:every AS interval)
RETURNING value ->> 'database' AS database, CAST(value ->> 'epoch' AS bigint) AS number,
    "updatedAt" AS at
"""

RAISE = f"""
UPDATE settings SET "updatedAt" = {NOW},
    value = jsonb_set(value, '{{epoch}}', to_jsonb(CAST(:number AS bigint)))
WHERE key = 'epoch'
RETURNING value ->> 'database' AS database, CAST(value ->> 'epoch' AS bigint) AS number,
    "updatedAt" AS at
"""

MIRRORED = f"""
INSERT INTO settings (key, value, "updatedAt")
VALUES ('epoch:mirrored', to_jsonb(CAST(:number AS bigint)), {NOW})
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, "updatedAt" = EXCLUDED."updatedAt"
"""

MIRRORED_AT = """
SELECT "updatedAt" FROM settings WHERE key = 'epoch:mirrored'
"""

PRESENT = f"SELECT {NOW}"

STEPS_THERE = "SELECT id FROM publication_steps WHERE id = ANY(CAST(:ids AS text[]))"

# Whoever else carries posts may have seen what is forgotten.
OTHERS = f"""
SELECT EXISTS (SELECT 1 FROM dispatchers WHERE id <> :owner AND "endedAt" IS NULL
    AND "heartbeatAt" > {NOW} - interval '30 seconds')
"""

OPEN = f"""
INSERT INTO quarantines (id, since, until, epoch, "mirroredEpoch", "declaredBy", "openedAt")
VALUES (:id, :since, LEAST(CAST(:until AS timestamp), {NOW}), :epoch, :mirrored, :declared_by, {NOW})
ON CONFLICT ((1)) WHERE "reconciledAt" IS NULL DO UPDATE SET
    since = LEAST(quarantines.since, EXCLUDED.since),
    until = GREATEST(quarantines.until, EXCLUDED.until)
RETURNING id, since, until
"""

# What fell due in the span and is not settled, whatever it stood at. What was held or paused may have
# been let go meanwhile, as long as it was not too late for that.
_SUSPECT = """
p."dueAt" <= CAST(:until AS timestamp) AND (
    p.stage IN ('scheduled','preparing','prepared','parked','committing','unknown')
    OR (p.stage IN ('held','paused') AND p."dueAt"
        + make_interval(secs => COALESCE(p."maxLateness", 21600)) >= CAST(:since AS timestamp)))
"""

# Contents before publications, in the order of their ids, as every mover locks them.
LOCK_CONTENTS = f"""
SELECT t.id FROM contents t
WHERE t.id IN (SELECT p."contentId" FROM publications p WHERE {_SUSPECT}) ORDER BY t.id FOR UPDATE
"""

# Its lease is taken from whoever has it: no commit of it is opened any more.
TO_REVIEW = f"""
WITH suspect AS (
    SELECT p.id, p.stage FROM publications p WHERE {_SUSPECT} ORDER BY p.id FOR UPDATE
), noted AS (
    INSERT INTO quarantined_publications ("quarantineId", "publicationId", stage)
    SELECT :id, s.id, s.stage FROM suspect s ON CONFLICT DO NOTHING
)
UPDATE publications p SET stage = 'review', status = 'PUBLISHING', error = :reason,
    "errorCode" = 'restored', "errorFix" = NULL, "nextAttemptAt" = NULL, "leaseOwner" = NULL,
    "leaseExpiresAt" = NULL, "leaseToken" = COALESCE(p."leaseToken", 0) + 1, "updatedAt" = {NOW}
FROM suspect s WHERE p.id = s.id
RETURNING p.id, p."contentId" AS content_id, p."scheduledJobId" AS job_id
"""

CLOSE_COMMITS = f"""
UPDATE publication_steps SET "endedAt" = {NOW}, outcome = 'unknown'
WHERE "publicationId" = ANY(CAST(:ids AS text[])) AND "canPublish" AND "endedAt" IS NULL
"""

# The forgotten span may hold a commit on any handle that is still good: written down as one whose
# answer is lost, so that the platform has the last word before anything is done with it (engine.md R2).
MAYBE_SENT = f"""
INSERT INTO publication_steps (id, "publicationId", "accountId", platform, "handleId", name, attempt,
    "canPublish", "leaseToken", revision, "startedAt", "endedAt", outcome, "policyVersion",
    detail)
SELECT h.id || '-restored', p.id, p."accountId", p.platform, h.id, 'commit',
    (SELECT count(*) + 1 FROM publication_steps o WHERE o."publicationId" = p.id AND o."canPublish"),
    true, p."leaseToken", COALESCE(p.revision, 0), {NOW}, {NOW}, 'unknown', '',
    CAST('{{"via": "restore"}}' AS jsonb)
FROM publications p JOIN handles h ON h."publicationId" = p.id AND h.state = 'active'
WHERE p.id = ANY(CAST(:ids AS text[]))
  AND NOT EXISTS (SELECT 1 FROM publication_steps s WHERE s."handleId" = h.id AND s."canPublish"
      AND s.outcome IN ('unknown','not_published','handle_dead'))
"""

UNRECONCILED = """
SELECT q.id, array_remove(array_agg(p.id), NULL) AS ids FROM quarantines q
LEFT JOIN quarantined_publications r ON r."quarantineId" = q.id
LEFT JOIN publications p ON p.id = r."publicationId" AND p.stage = 'review'
WHERE q."reconciledAt" IS NULL GROUP BY q.id
"""

RECONCILED = f"""
UPDATE quarantines SET "reconciledAt" = {NOW} WHERE id = :id AND "reconciledAt" IS NULL
"""

LIST = """
SELECT q.id, q.since, q.until, q.epoch, q."mirroredEpoch" AS mirrored_epoch,
    q."declaredBy" AS declared_by, q."openedAt" AS opened_at, q."reconciledAt" AS reconciled_at,
    count(r.*) AS publications, count(r.*) FILTER (WHERE p.stage = 'review') AS waiting
FROM quarantines q
LEFT JOIN quarantined_publications r ON r."quarantineId" = q.id
LEFT JOIN publications p ON p.id = r."publicationId"
GROUP BY q.id ORDER BY q."openedAt" DESC LIMIT 100
"""

IS_THERE = "SELECT 1 FROM quarantines WHERE id = :id"

PUBLICATIONS = """
SELECT p.id AS publication_id, p.platform, p."accountId" AS account_id, p."dueAt" AS due_at,
    r.stage AS stood_at, p.stage
FROM quarantined_publications r JOIN publications p ON p.id = r."publicationId"
WHERE r."quarantineId" = :id ORDER BY p."dueAt", p.id
"""

WAITING = """
SELECT count(*) FROM quarantined_publications r
JOIN publications p ON p.id = r."publicationId" AND p.stage = 'review' AND p."errorCode" = 'restored'
"""

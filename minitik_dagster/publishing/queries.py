"""The SQL that guarantees something: claim, heartbeat, fence, commit, transition.

All of it runs under READ COMMITTED. "Now" is `statement_timestamp() AT TIME ZONE 'UTC'`: stable
within a statement, so that the partial index is used, and free of the connection's TimeZone
(engine.md R10). Each write carries the lease owner and token: a row that was taken over is not
touched (R5).
"""

from minitik_dagster.notifications.event_queries import changes
from minitik_dagster.publishing.pause_queries import HELD_BACK

NOW = "(statement_timestamp() AT TIME ZONE 'UTC')"

# A live row with a nextAttemptAt still lacks its public id. The partial index has the same predicate.
_CLAIMABLE = (
    "(p.stage IN "
    "('scheduled','preparing','prepared','parked','committing','confirming','unknown') "
    "OR (p.stage = 'live' AND p.\"nextAttemptAt\" IS NOT NULL))"
)
_WAKE = 'COALESCE(p."nextAttemptAt", p."prepareAt")'

# What work.Claim is read from: rows of a CTE `claimed` of publications, with all that belongs to them.
CLAIMED_VIEW = """
SELECT c.id, c."contentId" AS content_id, c."accountId" AS account_id,
    c."scheduledJobId" AS scheduled_job_id, c.platform, c.stage, c."leaseToken" AS lease_token,
    c.revision, COALESCE(c."dueAt", c."publishedAt", c."createdAt") AS due_at, c.priority,
    c."maxLateness" AS max_lateness, c.attempts, c."confirmPolls" AS confirm_polls, c.options,
    c."acceptedAt" AS accepted_at, a.status AS account_status, a."platformAccountId" AS platform_account_id,
    t."deletedAt" IS NOT NULL AS content_deleted, t."filePath" AS media_key,
    t."fileSize" AS media_size, t."mimeType" AS mime_type, t.duration, t.title,
    t.description, c."platformPostId" AS platform_post_id,
    j."bullJobId" AS bull_job_id,
    s.id AS commit_id, s."handleId" AS commit_handle_id, s."startedAt" AS commit_started_at,
    s."sendBy" AS commit_send_by, s."sentAt" AS commit_sent_at,
    (SELECT count(*) FROM publication_steps o WHERE o."publicationId" = c.id
        AND o."endedAt" IS NULL AND NOT o."canPublish") AS open_steps
FROM claimed c
JOIN accounts a ON a.id = c."accountId"
JOIN contents t ON t.id = c."contentId"
LEFT JOIN scheduled_jobs j ON j.id = c."scheduledJobId"
LEFT JOIN publication_steps s ON s."publicationId" = c.id
    AND s."canPublish" AND s."endedAt" IS NULL
"""

# Where a scan of the claimable rows begins. While somebody holds a transaction open, the dead versions
# of all rows that were carried since then stay in the index, and all of them lie before the present: a
# scan from the beginning would read each of them, each time.
_SINCE = f"{_WAKE} >= COALESCE(CAST(:since AS timestamp), '-infinity')"

# Platforms of which a dispatcher is preparing as many posts as it may: theirs wait in the queue, so that
# one that hangs does not fill the dispatcher. What is prepared is claimed all the same.
_ROOM = """NOT (p.stage IN ('scheduled','preparing')
    AND p.platform = ANY(CAST(CAST(:full AS text[]) AS "Platform"[])))"""

# What is due before the window ends is taken only if it can also be finished in it; what is due
# much later can be prepared now and is handed back. SKIP LOCKED divides the work between dispatchers.
CLAIM = f"""
WITH due AS (
    SELECT p.id FROM publications p
    WHERE {_CLAIMABLE}
      AND {_WAKE} <= {NOW}
      AND {_SINCE}
      AND (p."leaseExpiresAt" IS NULL OR p."leaseExpiresAt" < {NOW})
      AND NOT {HELD_BACK}
      AND {_ROOM}
      AND (CAST(:window_end AS timestamp) IS NULL
           OR p."dueAt" <= CAST(:window_end AS timestamp) - interval '15 seconds'
           OR p."dueAt" > {NOW} + interval '180 seconds')
    ORDER BY {_WAKE}
    LIMIT :limit
    FOR UPDATE OF p SKIP LOCKED
), claimed AS (
    UPDATE publications p SET
        "leaseOwner" = :owner,
        "leaseExpiresAt" = {NOW} + CAST(:lease AS interval),
        "leaseToken" = COALESCE(p."leaseToken", 0) + 1,
        "updatedAt" = {NOW}
    FROM due WHERE p.id = due.id
    RETURNING p.*
)
{CLAIMED_VIEW}ORDER BY c.priority DESC, c."dueAt", c.id
"""

# Rows are locked in the order of their ids wherever several are: no two statements deadlock.
HEARTBEAT = f"""
WITH mine AS (
    SELECT id FROM publications WHERE "leaseOwner" = :owner ORDER BY id FOR UPDATE
)
UPDATE publications p SET "leaseExpiresAt" = {NOW} + CAST(:lease AS interval)
FROM mine WHERE p.id = mine.id AND p."leaseOwner" = :owner
RETURNING p.id, p."leaseToken" AS lease_token
"""

DISPATCHER_HEARTBEAT = f"""
UPDATE dispatchers SET "heartbeatAt" = {NOW}, "skewMs" = :skew_ms WHERE id = :owner
"""

REGISTER_DISPATCHER = f"""
INSERT INTO dispatchers (id, kind, "runId", instance, host, pid, "startedAt", "heartbeatAt",
    "windowEndsAt", "skewMs")
VALUES (:owner, :kind, :run_id, :instance, :host, :pid, {NOW}, {NOW}, :window_end, :skew_ms)
"""

# Its last heartbeat stays before its end: where the two are one, it was found dead (window_queries).
END_DISPATCHER = f"""
UPDATE dispatchers SET "endedAt" = {NOW},
    summary = CAST(:summary AS jsonb) WHERE id = :owner
"""

FENCE = '"leaseOwner" = :owner AND "leaseToken" = :token'

# Moves a publication; fields that are not named keep their value. `tell`: its stage is another one.
MOVE = f"""
WITH moved AS (
    UPDATE publications SET stage = :stage, status = CAST(:status AS "PublicationStatus"),
        "updatedAt" = {NOW} {{fields}}
    WHERE id = :id AND {FENCE}
    RETURNING *
), {changes("moved", "CAST(:tell AS boolean)")}
SELECT id FROM moved
"""

RELEASE_FIELDS = ', "leaseOwner" = NULL, "leaseExpiresAt" = NULL'

# While the owner asked, an event made the row due (inbound_queries.HASTEN): it stays due.
HEED = f"""CASE WHEN "nextAttemptAt" > CAST(:asked_at AS timestamp) AND "nextAttemptAt" <= {NOW}
    THEN "nextAttemptAt" ELSE CAST(:f_nextAttemptAt AS timestamp) END"""

# A task that could not end properly: its row is claimed again from what the ledger says.
RELEASE = f"""
UPDATE publications SET "leaseOwner" = NULL, "leaseExpiresAt" = NULL,
    "nextAttemptAt" = CASE WHEN stage = 'live' AND "nextAttemptAt" IS NULL THEN NULL
        ELSE GREATEST("nextAttemptAt", {NOW}) END
WHERE id = :id AND {FENCE}
"""

RELEASE_ALL = """
WITH mine AS (
    SELECT id FROM publications WHERE "leaseOwner" = :owner ORDER BY id FOR UPDATE
)
UPDATE publications p SET "leaseOwner" = NULL, "leaseExpiresAt" = NULL
FROM mine WHERE p.id = mine.id AND p."leaseOwner" = :owner
"""

BEGIN_STEP = f"""
INSERT INTO publication_steps (id, "publicationId", "accountId", platform, "handleId", name,
    attempt, "canPublish", "leaseToken", revision, "startedAt", "policyVersion")
SELECT :step_id, p.id, p."accountId", p.platform, :handle_id, :name,
    (SELECT count(*) + 1 FROM publication_steps o
        WHERE o."publicationId" = p.id AND o.name = :name),
    false, p."leaseToken", p.revision, {NOW}, :policy_version
FROM publications p WHERE p.id = :id AND {FENCE}
RETURNING id
"""

END_STEP = f"""
UPDATE publication_steps s SET "endedAt" = {NOW}, outcome = :outcome,
    "platformCode" = :code, "requestId" = :request_id, detail = CAST(:detail AS jsonb),
    "handleId" = COALESCE(s."handleId", :handle_id)
FROM publications p
WHERE s.id = :step_id AND s."endedAt" IS NULL AND p.id = s."publicationId"
  AND p."leaseOwner" = :owner AND p."leaseToken" = :token
RETURNING s.id
"""

# Steps of an earlier lease that could not publish: nobody holds what they may have made (R1).
CLOSE_LOST_STEPS = f"""
UPDATE publication_steps SET "endedAt" = {NOW}, outcome = 'lost'
WHERE "publicationId" = :id AND "endedAt" IS NULL AND NOT "canPublish"
"""

# A public id belongs to one publication; another owner's row is left as it is.
BIND_POST = f"""
INSERT INTO posts (id, "publicationId", "accountId", platform, "platformPostId", permalink, via,
    "foundAt")
VALUES (:post_row_id, :id, :account_id, CAST(:platform AS "Platform"), :post_id, :permalink, :via,
    {NOW})
ON CONFLICT ("accountId", "platformPostId") DO UPDATE
    SET permalink = COALESCE(EXCLUDED.permalink, posts.permalink)
RETURNING "publicationId" AS owner
"""

NEXT_WAKE = f"""
SELECT min({_WAKE}) AS wake FROM publications p
WHERE {_CLAIMABLE} AND {_SINCE} AND p."leaseOwner" IS NULL AND NOT {HELD_BACK}
"""

# The sensor's question: is any wake reached (or about to be) that no live dispatcher will take?
WAITING = f"""
SELECT count(*) AS waiting, min(w.wake) AS first_wake, min(w."dueAt") AS first_due FROM (
    SELECT {_WAKE} AS wake, p."dueAt" FROM publications p
    WHERE {_CLAIMABLE}
      AND {_WAKE} <= {NOW} + CAST(:ahead AS interval)
      AND (p."leaseExpiresAt" IS NULL OR p."leaseExpiresAt" < {NOW})
      AND NOT {HELD_BACK}
      AND NOT EXISTS (
          SELECT 1 FROM dispatchers d
          WHERE d."endedAt" IS NULL AND d."heartbeatAt" > {NOW} - CAST(:silence AS interval)
            AND (d."windowEndsAt" IS NULL
                 OR (d."windowEndsAt" > {NOW} + interval '20 seconds'
                     AND (p."dueAt" <= d."windowEndsAt" - interval '15 seconds'
                          OR p."dueAt" > {NOW} + interval '180 seconds')
                     AND {_WAKE} < d."windowEndsAt")))
    ORDER BY {_WAKE} LIMIT :limit
) w
"""

# Has a dispatcher that was asked for come and gone? Then what waits now is not the same dispatcher's.
CAME_AND_WENT = """
SELECT EXISTS (
    SELECT 1 FROM dispatchers d
    WHERE d.kind = 'dagster' AND d."startedAt" >= :asked_at AND d."endedAt" IS NOT NULL
) AS gone
"""

# What an open breaker costs: posts that wait, and how many people they belong to.
PARKED_COST = """
SELECT count(*) AS posts, count(DISTINCT a."userId") AS creators
FROM publications p JOIN accounts a ON a.id = p."accountId"
WHERE p.stage = 'parked' AND p.platform = CAST(:platform AS "Platform")
"""

# A breaker closed: what it held back goes in the order it was due, spaced, not all at once.
UNPARK = f"""
WITH waiting AS (
    SELECT p.id, row_number() OVER (ORDER BY p.priority DESC, p."dueAt", p.id) AS place
    FROM publications p
    WHERE p.stage = 'parked' AND p.platform = CAST(:platform AS "Platform")
      AND (p."leaseExpiresAt" IS NULL OR p."leaseExpiresAt" < {NOW})
)
UPDATE publications p
SET "nextAttemptAt" = {NOW} + (w.place - 1) * CAST(:spacing AS interval), "updatedAt" = {NOW}
FROM waiting w WHERE p.id = w.id AND p.stage = 'parked'
"""

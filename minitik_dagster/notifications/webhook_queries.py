"""The SQL of webhooks' deliveries: claim what is due, write what came of it, list and resend."""

from minitik_dagster.notifications.event_queries import NOW

# What is claimed for long enough that whoever claimed it has ended its attempt, or is gone.
LEASE = "interval '60 seconds'"

# A few per webhook, however many wait for it: one that is slow or down holds no more than its own places.
# Those whose last attempt failed are claimed apart (`failing`), so that they never fill all places. The
# targets are drawn by lot, so that none is always the last.
CLAIM = f"""
WITH targets AS MATERIALIZED (
    SELECT w.id FROM webhooks w
    WHERE w."disabledAt" IS NULL AND (w."failingSince" IS NOT NULL) = CAST(:failing AS boolean)
        AND EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d."webhookId" = w.id
            AND d.state = 'waiting' AND d."dueAt" <= {NOW})
    ORDER BY random()
), due AS (
    SELECT q.id FROM targets t CROSS JOIN LATERAL (
        SELECT d.id FROM webhook_deliveries d
        WHERE d."webhookId" = t.id AND d.state = 'waiting' AND d."dueAt" <= {NOW}
            AND (d."leasedUntil" IS NULL OR d."leasedUntil" <= {NOW})
        ORDER BY d."dueAt", d.id
        LIMIT GREATEST(0, CAST(:each AS integer) - (SELECT count(*) FROM webhook_deliveries b
            WHERE b."webhookId" = t.id AND b.state = 'waiting' AND b."leasedUntil" > {NOW}))
        FOR UPDATE SKIP LOCKED
    ) q
    LIMIT :limit
)
UPDATE webhook_deliveries d SET attempts = d.attempts + 1, "leasedUntil" = {NOW} + {LEASE}
FROM due, webhooks w
WHERE d.id = due.id AND w.id = d."webhookId"
RETURNING d.id, d."webhookId" AS webhook_id, d.type, d.data, d.at, d.attempts AS attempt, w.url,
    w.secret, {NOW} AS now, w."failingSince" IS NOT NULL AS failing,
    (SELECT value #>> '{{}}' FROM settings WHERE key = 'world') AS world
"""

# The attempt's number is the fence: who was overtaken writes nothing.
_MINE = "id = :id AND attempts = :attempt AND state = 'waiting'"
_LOG = f"""
INSERT INTO webhook_attempts ("deliveryId", attempt, at, "statusCode", "durationMs", answer, error)
SELECT :id, :attempt, {NOW}, CAST(:status AS integer), :milliseconds, CAST(:answer AS text),
    CAST(:error AS text)
"""
DELIVERED = f"""
WITH done AS (
    UPDATE webhook_deliveries SET state = 'delivered', "doneAt" = {NOW}, "leasedUntil" = NULL,
        "statusCode" = :status, error = NULL
    WHERE {_MINE} RETURNING "webhookId"
), logged AS (
    {_LOG} FROM done
)
UPDATE webhooks w SET "failingSince" = NULL FROM done
WHERE w.id = done."webhookId" AND w."failingSince" IS NOT NULL
"""
# The last attempt comes a day after the first became due; `final`: repeating it changes nothing.
FAILED = f"""
WITH tried AS (
    UPDATE webhook_deliveries SET "leasedUntil" = NULL, "statusCode" = CAST(:status AS integer),
        error = :error,
        state = CASE WHEN :final OR {NOW} >= since + interval '1 day' THEN 'dead' ELSE state END,
        "doneAt" = CASE WHEN :final OR {NOW} >= since + interval '1 day' THEN {NOW} END,
        "dueAt" = LEAST({NOW} + CAST(:wait AS interval), since + interval '1 day')
    WHERE {_MINE} RETURNING "webhookId", state
), logged AS (
    {_LOG} FROM tried
), failing AS (
    UPDATE webhooks w SET "failingSince" = COALESCE(w."failingSince", {NOW}) FROM tried
    WHERE w.id = tried."webhookId"
)
SELECT state FROM tried
"""
DISABLE = f"""
UPDATE webhooks SET "disabledAt" = {NOW}, "disabledReason" = :reason, "updatedAt" = {NOW}
WHERE id = :webhook_id AND url = :url AND "disabledAt" IS NULL
RETURNING id
"""
BURY = f"""
UPDATE webhook_deliveries SET state = 'dead', "doneAt" = {NOW}, error = :reason
WHERE "webhookId" = :webhook_id AND state = 'waiting' AND "leasedUntil" IS NULL
"""
# What a process that stops has not finished: due at once for another one, under the same id.
GIVE_BACK = f"""
UPDATE webhook_deliveries SET "leasedUntil" = NULL WHERE {_MINE}
"""

# Sent anew, with a day of its own for it; what waits anyway is only hastened.
RESEND = f"""
UPDATE webhook_deliveries SET state = 'waiting', since = {NOW}, "dueAt" = {NOW}, "doneAt" = NULL
WHERE id = :id AND "webhookId" = :webhook_id
RETURNING id
"""

DELIVERIES = """
SELECT d.id, d.type, d.at, d.state, d.attempts, d."statusCode" AS status_code, d.error,
    CASE WHEN d.state = 'waiting' THEN d."dueAt" END AS next_attempt_at, d."doneAt" AS done_at,
    COALESCE((SELECT jsonb_agg(jsonb_build_object('attempt', a.attempt,
            'at', to_char(a.at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'statusCode', a."statusCode",
            'durationMs', a."durationMs", 'answer', a.answer, 'error', a.error) ORDER BY a.attempt)
        FROM webhook_attempts a WHERE a."deliveryId" = d.id), CAST('[]' AS jsonb)) AS tries
FROM webhook_deliveries d
WHERE d."webhookId" = :webhook_id AND (CAST(:state AS text) IS NULL OR d.state = :state)
    AND (CAST(:before AS text) IS NULL OR (d."createdAt", d.id) < (
        SELECT b."createdAt", b.id FROM webhook_deliveries b
        WHERE b.id = :before AND b."webhookId" = :webhook_id))
ORDER BY d."createdAt" DESC, d.id DESC LIMIT :limit
"""

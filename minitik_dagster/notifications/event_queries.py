"""The SQL of events: what happened is written in the transaction that makes it true.

An event is a row of `events`, read by the streams of `GET /api/events`; for each webhook of its user that
asks for its type it is a row of `webhook_deliveries` too. Parts of larger statements: a CTE of facts
(user_id, type, data) goes in, the CTEs that write them come out.
"""

from typing import Final

NOW = "(statement_timestamp() AT TIME ZONE 'UTC')"
# The writing transaction, as a number: rising over the cluster's life, and comparable with a snapshot's.
XACT = "CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
CHANNEL: Final = "minitik_events"
# A hint to the streams; sent beside the engine's transactions, which would queue up for it at commit.
WAKE = f"SELECT pg_notify('{CHANNEL}', '')"


# An instant as the HTTP contract writes it.
def instant(column: str) -> str:
    """Return the SQL of an instant as the HTTP contract writes it; null stays null."""
    return f"""to_char({column}, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


def recorded(facts: str) -> str:
    """Return the CTEs `told`, `queued` and `noticed` that write the rows of the CTE `facts`.

    `noticed`: what becomes a notice to the person, once per event. The engine asks no table here that a
    later schema brought: who is told of published posts by e-mail alone is looked up afterwards
    (notifications.catch_up).
    """
    return f"""
told AS (
    INSERT INTO events ("userId", type, data, at, xact)
    SELECT user_id, type, data, {NOW}, {XACT} FROM {facts}
    RETURNING seq, "userId", type, data, at
), queued AS (
    INSERT INTO webhook_deliveries (id, "webhookId", type, data, at, state, attempts, since, "dueAt",
        "createdAt")
    SELECT 'msg_' || replace(CAST(gen_random_uuid() AS text), '-', ''), w.id, t.type, t.data, t.at,
        'waiting', 0, t.at, t.at, t.at
    FROM told t JOIN webhooks w ON w."userId" = t."userId" AND w."disabledAt" IS NULL
        AND t.type = ANY(w.events)
), noticed AS (
    INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
    SELECT 'event:' || t.seq, t.type, t.data || jsonb_build_object('userId', t."userId"), t.at, 0, t.at
    FROM told t WHERE t.type = 'publication.failed' OR (t.type = 'publication.published'
        AND EXISTS (SELECT 1 FROM notification_subscriptions s WHERE s."userId" = t."userId"))
    ON CONFLICT (id) DO NOTHING
)"""


_CHANGE = """jsonb_build_object(
        'publicationId', p.id, 'contentId', p."contentId", 'accountId', p."accountId",
        'platform', lower(CAST(p.platform AS text)), 'scheduledJobId', p."scheduledJobId",
        'stage', p.stage, 'status', CAST(p.status AS text), 'errorCode', p."errorCode")"""


def changes(rows: str, condition: str = "true") -> str:
    """Return the CTE `changed` that tells the streams where the publications of `rows` stand now."""
    return f"""
changed AS (
    INSERT INTO events ("userId", type, data, at, xact)
    SELECT c."userId", 'publication.changed', {_CHANGE}, {NOW}, {XACT}
    FROM {rows} p JOIN contents c ON c.id = p."contentId" WHERE {condition}
)"""


TELL_CHANGES = f"""
WITH rows AS (SELECT * FROM publications WHERE id = ANY(:ids)), {changes("rows")}
SELECT 1
"""

TELL = f"""
WITH facts AS (
    SELECT CAST(:user_id AS text) AS user_id, CAST(:type AS text) AS type,
        CAST(:data AS jsonb) AS data
), {recorded("facts")}
SELECT 1
"""

# In the transaction that made it live (seen live by the platform's own word, or a person's).
TELL_PUBLISHED = f"""
WITH facts AS (
    SELECT c."userId" AS user_id, 'publication.published' AS type, jsonb_build_object(
        'publicationId', p.id, 'contentId', p."contentId", 'accountId', p."accountId",
        'platform', lower(CAST(p.platform AS text)), 'scheduledJobId', p."scheduledJobId",
        'dueAt', {instant('p."dueAt"')}, 'publishedAt', {instant('p."publishedAt"')},
        'verifiedAt', {instant('p."verifiedAt"')}, 'platformPostId', p."platformPostId",
        'permalink', p.permalink) AS data
    FROM publications p JOIN contents c ON c.id = p."contentId"
    WHERE p.id = :id AND p.stage = 'live' AND p."verifiedAt" IS NOT NULL
), {recorded("facts")}
SELECT 1
"""

TELL_FAILED = f"""
WITH facts AS (
    SELECT c."userId" AS user_id, 'publication.failed' AS type, jsonb_build_object(
        'publicationId', p.id, 'contentId', p."contentId", 'accountId', p."accountId",
        'platform', lower(CAST(p.platform AS text)), 'scheduledJobId', p."scheduledJobId",
        'dueAt', {instant('p."dueAt"')}, 'error', jsonb_build_object('code', p."errorCode",
            'reason', p.error, 'fix', COALESCE(p."errorFix", ''))) AS data
    FROM publications p JOIN contents c ON c.id = p."contentId"
    WHERE p.id = :id AND p.stage = 'failed'
), {recorded("facts")}
SELECT 1
"""

# Of the CTEs `before` (the content's code) and `rolled` (the content as it is now).
PARTIAL_FACTS = """
facts AS (
    SELECT r."userId" AS user_id, 'publication.partial' AS type, jsonb_build_object(
        'contentId', r.id, 'publications', (
            SELECT jsonb_agg(jsonb_build_object('publicationId', p.id, 'accountId', p."accountId",
                'platform', lower(CAST(p.platform AS text)), 'stage', p.stage,
                'status', CAST(p.status AS text), 'errorCode', p."errorCode") ORDER BY p.id)
            FROM publications p WHERE p."contentId" = r.id AND p.stage <> 'cancelled'
                AND p."rolledBackAt" IS NULL)) AS data
    FROM rolled r CROSS JOIN before b
    WHERE r."errorCode" = 'partial' AND b.code IS DISTINCT FROM 'partial'
)"""

# What the streams resume from is a day old at most; in handfuls, so that no lock is held for long.
FORGET_EVENTS = f"""
DELETE FROM events WHERE seq IN (
    SELECT seq FROM events WHERE at < {NOW} - interval '1 day' ORDER BY seq LIMIT :limit)
"""
FORGET_DELIVERIES = f"""
DELETE FROM webhook_deliveries WHERE id IN (
    SELECT id FROM webhook_deliveries WHERE "doneAt" < {NOW} - interval '30 days' LIMIT :limit)
"""

# Everything of transactions older than this has ended: nothing more appears below it.
HORIZON = "CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)"
NOW_HORIZON = f"SELECT {HORIZON} AS horizon, {NOW} AS now"
# What the streams have not seen yet, with the horizon of the same snapshot. Transactions are numbered anew
# in a restored copy of a database: old rows of it are not new.
RECENT = f"""
SELECT s.horizon, e.seq, e."userId" AS user_id, e.type, e.data, e.at, e.xact
FROM (SELECT {HORIZON} AS horizon) s
LEFT JOIN events e ON e.xact >= :since AND e."userId" = ANY(:users)
    AND NOT e.seq = ANY(CAST(:seen AS bigint[])) AND e.at > {NOW} - interval '10 minutes'
ORDER BY e.seq
"""
BACKLOG = """
SELECT seq, "userId" AS user_id, type, data, at, xact FROM events
WHERE "userId" = :user_id AND xact >= :since ORDER BY seq LIMIT :limit
"""

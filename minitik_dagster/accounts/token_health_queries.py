"""The SQL of the questions about tokens: will they live until the next post, and who must be told."""

from minitik_dagster.accounts.token_queries import NOW, WAITING
from minitik_dagster.notifications.notices import ACCOUNT_EXPIRES_SOON

# `renewable_until`: the end of what renews the access token. Instagram's token renews itself. A next
# post is the next one to come: what was due is the engine's business by now.
_ACCOUNTS = f"""
SELECT a.id, a."userId" AS user_id, lower(CAST(a.platform AS text)) AS platform,
    a."tokenExpiresAt" AS expires_at, a."refreshedAt" AS refreshed_at,
    a."refreshOutcome" AS outcome, COALESCE(a."refreshFailures", 0) AS failures,
    a."refreshStartedAt" AS started_at, a."refreshToken" IS NOT NULL AS has_refresh,
    a.platform = 'INSTAGRAM' AS instagram,
    CASE WHEN a.platform = 'INSTAGRAM' THEN a."tokenExpiresAt"
        WHEN a."refreshToken" IS NULL THEN a."tokenExpiresAt"
        ELSE a."refreshTokenExpiresAt" END AS renewable_until,
    (SELECT min(p."dueAt") FROM publications p WHERE p."accountId" = a.id
        AND p.stage IN {WAITING} AND p."dueAt" > {NOW}) AS next_post
FROM accounts a WHERE a.status = 'CONNECTED'
"""

# A token that a refresh can still replace is no fault until it has ended (the schedule stands still,
# or refreshes fail) or until half an hour before a post whose refreshes fail.
OUTLIVED = f"""
SELECT id, count(*) OVER () AS total FROM ({_ACCOUNTS}) a
WHERE next_post IS NOT NULL AND (
    renewable_until < next_post AND (NOT instagram OR expires_at < {NOW} + interval '1 day'
        OR failures > 0)
    OR expires_at < {NOW} - interval '10 minutes'
    OR (expires_at < next_post AND failures > 0 AND next_post < {NOW} + interval '30 minutes'))
ORDER BY next_post, id LIMIT 100
"""

ENDING = f"""
SELECT id, count(*) OVER () AS total FROM ({_ACCOUNTS}) a
WHERE renewable_until <= {NOW} + interval '14 days'
ORDER BY renewable_until, id LIMIT 100
"""

CUT_OFF = f"""
SELECT id, count(*) OVER () AS total FROM ({_ACCOUNTS}) a
WHERE started_at <= {NOW} - CAST(:after AS interval)
ORDER BY started_at, id LIMIT 100
"""

# Once per account and threshold: a lifetime that is told anew with each answer shifts by seconds, so
# the threshold of an account is what repeats, and not before the earlier notice is a month old.
EXPIRES_SOON = f"""
WITH soon AS (
    SELECT a.*, t.days FROM ({_ACCOUNTS}) a
    JOIN LATERAL (
        SELECT days FROM (VALUES (1), (7), (14)) t (days)
        WHERE a.renewable_until <= {NOW} + days * interval '1 day' ORDER BY days LIMIT 1
    ) t ON true
    WHERE a.renewable_until > {NOW}
)
INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
SELECT 'expires-' || md5(s.id || ':' || s.days || ':' || CAST({NOW} AS text)),
    '{ACCOUNT_EXPIRES_SOON}', jsonb_build_object(
        'userId', s.user_id, 'accountId', s.id, 'platform', s.platform,
        'expiresAt', to_char(s.renewable_until, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'days', s.days),
    {NOW}, 0, {NOW}
FROM soon s
WHERE NOT EXISTS (
    SELECT 1 FROM outbox o WHERE o.kind = '{ACCOUNT_EXPIRES_SOON}'
    AND o.payload ->> 'accountId' = s.id AND CAST(o.payload ->> 'days' AS int) = s.days
    AND o."createdAt" > {NOW} - interval '30 days')
RETURNING payload ->> 'accountId' AS account_id
"""

# Two runs at once must not tell the same thing twice.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('minitik account.expires_soon'))"

# What needs a look first: failures, then the soonest to end.
TABLE = f"""
SELECT id, platform, expires_at, refreshed_at, outcome, failures, started_at,
    count(*) OVER () AS total
FROM ({_ACCOUNTS}) a
ORDER BY failures > 0 DESC, started_at IS NOT NULL DESC, expires_at NULLS FIRST, id LIMIT :limit
"""

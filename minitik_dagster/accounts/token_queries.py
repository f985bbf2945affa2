"""The SQL of tokens: read, refresh under the row lock, withdraw, and find what is due."""

from minitik_dagster.notifications.event_queries import recorded
from minitik_dagster.notifications.notices import ACCOUNT_DISCONNECTED

NOW = "(statement_timestamp() AT TIME ZONE 'UTC')"
# Stages of posts that have not started; the same as of the index publications_account_due.
WAITING = "('scheduled','preparing','prepared','parked','paused','held')"

READ = f"""
SELECT id, status, "accessToken" AS access_token, "refreshToken" AS refresh_token,
    "tokenExpiresAt" AS expires_at, "tokenVersion" AS token_version,
    "refreshStartedAt" AS started_at, "refreshFailures" AS failures,
    {NOW} - "refreshStartedAt" AS since_started,
    {NOW} - "refreshedAt" AS since_refreshed
FROM accounts WHERE id = :id
"""
LOCK = READ + " FOR UPDATE"
TRY_LOCK = LOCK + " SKIP LOCKED"
BEGIN = f"""
UPDATE accounts SET "refreshStartedAt" = {NOW} WHERE id = :id
RETURNING "refreshStartedAt"
"""
# An empty new refresh token never overwrites the old one (Google's answer has none). Only the version
# that was refreshed is replaced, and an account that was emptied meanwhile is not filled again. Key
# rotation leaves the version as it is: the tokens are the same.
SAVE = f"""
UPDATE accounts SET "accessToken" = :access, "refreshToken" = COALESCE(:refresh, "refreshToken"),
    "tokenVersion" = COALESCE("tokenVersion", 0) + 1, "tokenIssuedAt" = {NOW},
    "tokenExpiresAt" = {NOW} + CAST(:lives AS interval),
    "refreshTokenExpiresAt" = COALESCE({NOW} + CAST(:refresh_lives AS interval),
        CASE WHEN CAST(:rotated AS boolean) THEN NULL ELSE "refreshTokenExpiresAt" END),
    "refreshStartedAt" = NULL, "refreshedAt" = {NOW}, "refreshFailures" = 0,
    "refreshNextAt" = NULL, "refreshOutcome" = 'refreshed'
WHERE id = :id AND "tokenVersion" IS NOT DISTINCT FROM CAST(:old_version AS bigint)
    AND "accessToken" <> ''
"""
# An intent without an answer that was read stays: it is the gap that a crash leaves, too.
FAILED = f"""
UPDATE accounts SET "refreshFailures" = COALESCE("refreshFailures", 0) + 1,
    "refreshFailedAt" = {NOW}, "refreshOutcome" = :code,
    "refreshNextAt" = {NOW} + CAST(:wait AS interval),
    "refreshStartedAt" = CASE WHEN :unread THEN "refreshStartedAt" END
WHERE id = :id AND status = 'CONNECTED'
"""

# `heldPosts`: its posts that have not started; each is held when its turn comes (publishing.endings).
WITHDRAW = f"""
WITH withdrawn AS (
    UPDATE accounts SET status = CAST(:status AS "AccountStatus"), "refreshStartedAt" = NULL,
        "refreshNextAt" = NULL, "refreshOutcome" = :code, "refreshFailedAt" = {NOW}
    WHERE id = :account_id AND status = 'CONNECTED'
    RETURNING id, "userId", platform
), facts AS (
    SELECT w."userId" AS user_id, '{ACCOUNT_DISCONNECTED}' AS type, jsonb_build_object(
        'accountId', w.id, 'platform', lower(CAST(w.platform AS text)),
        'status', CAST(:status AS text), 'reason', CAST(:reason AS text), 'heldPosts', (
            SELECT count(*) FROM publications p WHERE p."accountId" = w.id
            AND p.stage IN {WAITING})) AS data
    FROM withdrawn w
), {recorded("facts")}
INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
SELECT :notice_id, type, data || jsonb_build_object('userId', user_id), {NOW}, 0, {NOW}
FROM facts
"""

# What a present token must still serve: from 30 minutes before its end on, or before the end of the
# first post that it does not cover (`tail` after its due instant), it is renewed; a post that no token
# can reach yet waits until its preparation is near. Instagram renews a token of at least 24 hours, and
# is asked at half of its life. An intent that stayed is looked into at once. Without a refresh token
# nothing can be renewed: such an account is taken when its token has ended, and ends with it.
DUE = f"""
SELECT d.id, d.platform, d.token_version, d.rank
FROM (
    SELECT a.id, CAST(a.platform AS text) AS platform, a."tokenVersion" AS token_version,
        COALESCE(a."tokenExpiresAt", timestamp '0001-01-02') AS rank,
        a."tokenExpiresAt" AS ends, a."tokenExpiresAt" - a."tokenIssuedAt" AS life,
        COALESCE(a."tokenIssuedAt", a."connectedAt") AS issued, a."refreshedAt" AS refreshed,
        a."refreshStartedAt" AS started, a.platform = 'INSTAGRAM' AS instagram,
        a."refreshToken" IS NOT NULL AS has_refresh
    FROM accounts a
    WHERE a.status = 'CONNECTED' AND a."accessToken" <> ''
        AND (a."refreshNextAt" IS NULL OR a."refreshNextAt" <= {NOW})
        AND (a."refreshedAt" IS NULL
            OR a."refreshedAt" <= {NOW} - CAST(:min_interval AS interval))
) d
LEFT JOIN LATERAL (
    SELECT p."dueAt" AS due, p."prepareAt" AS prepare FROM publications p
    WHERE p."accountId" = d.id AND p.stage IN {WAITING}
        AND p."dueAt" > d.ends - CAST(:tail AS interval)
    ORDER BY p."dueAt" LIMIT 1
) post ON true
WHERE (d.rank, d.id) > (CAST(:after_rank AS timestamp), :after_id)
    AND (d.ends <= {NOW}
        OR CASE WHEN d.instagram THEN d.issued <= {NOW} - interval '24 hours' ELSE d.has_refresh END)
    AND (
        d.ends <= {NOW} + LEAST(CAST(:soon AS interval), d.life / 2)
        OR (d.ends IS NULL AND (d.refreshed IS NULL OR d.refreshed <= {NOW} - interval '1 hour'))
        OR (d.instagram AND {NOW} >= d.issued + (d.ends - d.issued) / 2)
        OR d.started <= {NOW} - CAST(:cut_off_after AS interval)
        OR {NOW} + d.life >= post.due + CAST(:tail AS interval)
        OR (post.prepare <= {NOW} + CAST(:soon AS interval)
            AND (d.life IS NULL OR {NOW} >= d.issued + d.life / 4))
    )
ORDER BY d.rank, d.id
LIMIT :limit
"""

"""The SQL of connecting: a flow's state, the limit by tier, and the one row of an account."""

NOW = "(statement_timestamp() AT TIME ZONE 'UTC')"

FORGET_STATES = f"""
DELETE FROM oauth_states WHERE "userId" = :user_id AND "expiresAt" < {NOW} - interval '1 day'
"""

BEGIN = f"""
INSERT INTO oauth_states (id, "stateHash", "userId", provider, "codeVerifier", "redirectUri",
    "sessionHash", "accountId", "createdAt", "expiresAt")
VALUES (:id, :state_hash, :user_id, :provider, :verifier, :redirect_uri, :session_hash, :account_id,
    {NOW}, {NOW} + CAST(:lives AS interval))
RETURNING "expiresAt"
"""

# The one statement that spends a state: of any number of callbacks at once, one gets the row.
SPEND = f"""
UPDATE oauth_states SET "consumedAt" = {NOW}
WHERE "stateHash" = :state_hash AND provider = :provider AND "consumedAt" IS NULL
    AND "expiresAt" > {NOW}
    AND ("sessionHash" IS NULL OR "sessionHash" = CAST(:session_hash AS text))
RETURNING "userId" AS user_id, "codeVerifier" AS verifier, "redirectUri" AS redirect_uri,
    "accountId" AS account_id
"""

WHY_NOT = f"""
SELECT "consumedAt" IS NOT NULL AS used, "expiresAt" <= {NOW} AS expired
FROM oauth_states WHERE "stateHash" = :state_hash AND provider = :provider
"""

# The user's row is the lock under which places are counted and taken; foreign keys do not wait for it.
LOCK_USER = """
SELECT "subscriptionTier" AS tier FROM users
WHERE id = :user_id AND "deletedAt" IS NULL FOR NO KEY UPDATE
"""
TIER = """
SELECT "subscriptionTier" AS tier FROM users WHERE id = :user_id AND "deletedAt" IS NULL
"""
# A disconnected account keeps its row and history, and takes no place.
PLACES_TAKEN = """
SELECT count(*) FROM accounts
WHERE "userId" = :user_id AND "disconnectedAt" IS NULL AND status <> 'CONNECTING'
"""

KNOWN = """
SELECT id, platform, status, "platformAccountId" AS platform_account_id,
    COALESCE("refreshToken", '') <> '' AS has_refresh,
    "disconnectedAt" IS NULL AND status <> 'CONNECTING' AS takes_place
FROM accounts
WHERE "userId" = :user_id AND platform = CAST(:platform AS "Platform")
    AND "platformAccountId" = :platform_account_id
FOR NO KEY UPDATE
"""

# An empty new refresh token never overwrites the old one. The version rises, so that a refresh that
# was under way stores nothing over these tokens. The platform was just asked whose account it is,
# which is all that a probe asks.
STORE = f"""
INSERT INTO accounts AS a (id, "userId", platform, "platformAccountId", "platformUsername",
    "accessToken", "refreshToken", "tokenExpiresAt", "refreshTokenExpiresAt", "tokenIssuedAt",
    "tokenVersion", status, "connectedAt", "lastSyncAt", "probedAt", "probeOutcome", metadata)
VALUES (:id, :user_id, CAST(:platform AS "Platform"), :platform_account_id, :username,
    :access, :refresh, {NOW} + CAST(:lives AS interval), {NOW} + CAST(:refresh_lives AS interval),
    {NOW}, 1, 'CONNECTED', {NOW}, {NOW}, {NOW}, 'ok', CAST(:details AS jsonb))
ON CONFLICT ("userId", platform, "platformAccountId") DO UPDATE SET
    "platformUsername" = COALESCE(EXCLUDED."platformUsername", a."platformUsername"),
    "accessToken" = EXCLUDED."accessToken",
    "refreshToken" = COALESCE(EXCLUDED."refreshToken", a."refreshToken"),
    "tokenExpiresAt" = EXCLUDED."tokenExpiresAt",
    "refreshTokenExpiresAt" = CASE WHEN EXCLUDED."refreshToken" IS NULL
        THEN a."refreshTokenExpiresAt" ELSE EXCLUDED."refreshTokenExpiresAt" END,
    "tokenIssuedAt" = EXCLUDED."tokenIssuedAt",
    "tokenVersion" = COALESCE(a."tokenVersion", 0) + 1,
    status = 'CONNECTED', "disconnectedAt" = NULL, "lastSyncAt" = EXCLUDED."lastSyncAt",
    "probedAt" = EXCLUDED."probedAt", "probeOutcome" = EXCLUDED."probeOutcome",
    "refreshStartedAt" = NULL, "refreshFailures" = 0, "refreshNextAt" = NULL,
    "refreshOutcome" = 'connected',
    metadata = CASE WHEN jsonb_typeof(a.metadata) = 'object' THEN a.metadata ELSE '{{}}' END
        || EXCLUDED.metadata
RETURNING id
"""

AUDIT = f"""
INSERT INTO audit_log (id, at, actor, action, subject, detail)
VALUES (:row_id, {NOW}, :actor, :action, :subject, CAST(:detail AS jsonb))
"""

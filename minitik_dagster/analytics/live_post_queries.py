"""The SQL of live posts: which are due for a reading at an hour, and whose a post is.

`liveAt` is when the platform accepted the post; the index publications_live_since stands on it. A post
that our engine never committed was adopted from the old system.
"""

LIVE_AT = 'COALESCE(p."acceptedAt", p."publishedAt")'
_SERIES = f"""
    p.id, p."contentId" AS content_id, p."accountId" AS account_id, a."userId" AS user_id,
    CAST(p.platform AS text) AS platform, p."platformPostId" AS platform_post_id,
    {LIVE_AT} AS live_at, p."committedAt" IS NULL AS adopted,
    CAST(a.status AS text) AS account_status
"""

# Posts whose first slot is one of these hours: (first - 1 h, first]. The cost is the due posts', not
# that of all that are live.
DUE = f"""
SELECT {_SERIES}
FROM unnest(CAST(:firsts AS timestamp[])) AS due(first)
JOIN publications p ON p.stage = 'live'
    AND {LIVE_AT} > due.first - interval '1 hour' AND {LIVE_AT} <= due.first
JOIN accounts a ON a.id = p."accountId"
WHERE (p."accountId", p.id) > (CAST(:after_account AS text), CAST(:after_id AS text))
    AND (CAST(:user_id AS text) IS NULL OR a."userId" = :user_id)
ORDER BY p."accountId", p.id
LIMIT :limit
"""

# What was live at any time in the last `kept`, of some accounts, contents, posts, or one person.
LIVE = f"""
SELECT {_SERIES}
FROM publications p JOIN accounts a ON a.id = p."accountId"
WHERE p.stage = ANY(:stages) AND {LIVE_AT} IS NOT NULL
    AND (CAST(:ids AS text[]) IS NULL OR p.id = ANY(:ids))
    AND (CAST(:content_ids AS text[]) IS NULL OR p."contentId" = ANY(:content_ids))
    AND (CAST(:user_id AS text) IS NULL OR a."userId" = :user_id)
ORDER BY p."accountId", p.id
"""

CHANNELS = """
SELECT id, "userId" AS user_id FROM accounts
WHERE platform = 'YOUTUBE' AND status = 'CONNECTED' ORDER BY id
"""

ACCOUNTS = 'SELECT id FROM accounts WHERE "userId" = :user_id ORDER BY id'

NOW = "SELECT CAST(statement_timestamp() AT TIME ZONE 'UTC' AS timestamp(3)) AS now"

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"
# Between the statements of this transaction no snapshot is held: it delays no clean-up.
LOCK_LIMITS = """
SELECT set_config('idle_in_transaction_session_timeout', '0', true),
    set_config('statement_timeout', :milliseconds, true)
"""

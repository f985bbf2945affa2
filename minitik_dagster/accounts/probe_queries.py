"""The SQL of probes: whom to ask, who asks, and what is written of the answer.

`probedAt` is when the platform last said something about the account; a call that says nothing leaves it,
so that the next run asks again. `lastSyncAt` rises with a good answer only.
"""

from typing import Final

from minitik_dagster.accounts import probes
from minitik_dagster.accounts.token_queries import NOW

# What a probe may find wrong with an account; `ok`, `transient` and `throttled` are nothing wrong with it.
PROBLEMS: Final = "(" + ",".join(f"'{name}'" for name in sorted(probes.PROBLEMS)) + ")"
_KIND: Final = "split_part(COALESCE(\"probeOutcome\", ''), ':', 1)"

# The longest unasked first. `share` of all accounts at a time spreads them over the hours of a day: all
# of them fall due together after an upgrade, or when the schedule has stood still.
DUE: Final = f"""
SELECT id, CAST(platform AS text) AS platform, "probedAt" AS probed_at
FROM accounts
WHERE status = 'CONNECTED' AND ("probedAt" IS NULL OR "probedAt" <= {NOW} - CAST(:every AS interval))
ORDER BY "probedAt" NULLS FIRST, id
LIMIT (SELECT GREATEST(:least, (count(*) + :share - 1) / :share)
    FROM accounts WHERE status = 'CONNECTED')
"""

ONE: Final = """
SELECT id, CAST(platform AS text) AS platform, "probedAt" AS probed_at
FROM accounts WHERE id = :id
"""

# Held in an open transaction while the platform is asked, without a row being locked: who refreshes,
# connects or disconnects the account meanwhile does not wait for us. Two ids with one hash: the second
# is asked in the next run.
ALONE: Final = """
SELECT pg_try_advisory_xact_lock(hashtext('minitik account.probe'), hashtext(:id))
"""

READ: Final = """
SELECT id, CAST(platform AS text) AS platform, status, "probedAt" AS probed_at,
    "platformAccountId" AS platform_account_id, "accessToken" AS access_token,
    "tokenExpiresAt" AS expires_at, "tokenVersion" AS token_version
FROM accounts WHERE id = :id
"""

# The account is still the one that was asked about: connected, and with the very token that was used.
# `ours`: connected by this program, which asked the same question then; an older row's id may be of
# another kind.
SAME: Final = f"""
SELECT "userId" AS user_id, {_KIND} AS before,
    jsonb_typeof(metadata) = 'object' AND metadata ? 'scopes' AS ours
FROM accounts
WHERE id = :id AND status = 'CONNECTED'
    AND "tokenVersion" IS NOT DISTINCT FROM CAST(:version AS bigint)
FOR NO KEY UPDATE
"""

OK: Final = f"""
UPDATE accounts SET "probedAt" = {NOW}, "probeOutcome" = 'ok', "lastSyncAt" = {NOW},
    "platformUsername" = COALESCE(CAST(:username AS text), "platformUsername"),
    metadata = CASE WHEN CAST(:details AS jsonb) = '{{}}' THEN metadata
        WHEN jsonb_typeof(metadata) = 'object' THEN metadata || CAST(:details AS jsonb)
        ELSE CAST(:details AS jsonb) END
WHERE id = :id
"""

PROBLEM: Final = f"""
UPDATE accounts SET "probedAt" = {NOW}, "probeOutcome" = :outcome WHERE id = :id
"""

# An answer that says nothing does not take away what an earlier one said.
UNANSWERED: Final = f"""
UPDATE accounts SET "probeOutcome" = :outcome
WHERE id = :id AND {_KIND} NOT IN {PROBLEMS}
"""

# Also where the refresh found it and marked the account; one that was disconnected or connected anew
# meanwhile stays as it is.
ENDED: Final = f"""
UPDATE accounts SET "probedAt" = {NOW}, "probeOutcome" = :outcome
WHERE id = :id AND status IN ('EXPIRED','REVOKED','ERROR') AND "disconnectedAt" IS NULL
    AND "tokenVersion" IS NOT DISTINCT FROM CAST(:version AS bigint)
RETURNING id
"""

# `:slack` beyond a day: the hour between two runs, and the runs that a failing platform may cost.
UNPROBED: Final = f"""
SELECT id, count(*) OVER () AS total FROM accounts
WHERE status = 'CONNECTED'
    AND COALESCE("probedAt", "connectedAt") < {NOW} - interval '1 day' - CAST(:slack AS interval)
ORDER BY COALESCE("probedAt", "connectedAt"), id LIMIT 100
"""

# What has ended is its owner's matter after a day: they were told, and the account waits for them.
OUT_OF_ORDER: Final = f"""
SELECT id, count(*) OVER () AS total FROM accounts
WHERE {_KIND} IN {PROBLEMS} AND "disconnectedAt" IS NULL
    AND (status = 'CONNECTED' OR "probedAt" > {NOW} - interval '1 day')
ORDER BY "probedAt" DESC, id LIMIT 100
"""

# What needs a look first: problems, then the longest unasked.
TABLE: Final = f"""
SELECT id, lower(CAST(platform AS text)) AS platform, CAST(status AS text) AS status,
    "probedAt" AS probed_at, "probeOutcome" AS outcome, count(*) OVER () AS total
FROM accounts
WHERE "disconnectedAt" IS NULL AND status <> 'CONNECTING'
    AND (status = 'CONNECTED' OR "probeOutcome" IS NOT NULL)
ORDER BY {_KIND} IN {PROBLEMS} DESC, "probedAt" NULLS FIRST, id LIMIT :limit
"""

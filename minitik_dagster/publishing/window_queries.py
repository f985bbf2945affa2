"""The SQL of resident dispatchers' windows: written down here, shown in Dagster when it is there."""

from minitik_dagster.publishing.queries import NOW

# Colons are escaped: SQLAlchemy's text() would take them for parameters.
_ISO = '\'YYYY-MM-DD"T"HH24\\:MI\\:SS.MS"Z"\''

NOTE_SUMMARY = """
UPDATE dispatchers SET summary = CAST(:summary AS jsonb) WHERE id = :owner
"""

# Waits in the outbox until a sensor has shown it: nothing is lost while Dagster is down.
CLOSE_WINDOW = f"""
INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
VALUES (:row_id, 'dispatcher.window', CAST(:payload AS jsonb), {NOW}, 0, {NOW})
"""

# A dispatcher that was killed could not close its window: what it last noted is its report.
CLOSE_FOR_THE_DEAD = f"""
WITH dead AS (
    UPDATE dispatchers SET "endedAt" = "heartbeatAt"
    WHERE kind = 'resident' AND "endedAt" IS NULL
      AND "heartbeatAt" < {NOW} - CAST(:silence AS interval)
    RETURNING id, "heartbeatAt", "startedAt", summary
)
INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
SELECT 'window-' || d.id, 'dispatcher.window', jsonb_build_object('dispatcher', d.id,
    'startedAt', COALESCE(d.summary ->> 'windowStartedAt', to_char(d."startedAt", {_ISO})),
    'endedAt', to_char(d."heartbeatAt", {_ISO}),
    'killed', true, 'summary', d.summary), {NOW}, 0, {NOW}
FROM dead d WHERE d.summary IS NOT NULL
ON CONFLICT (id) DO NOTHING
"""

UNSHOWN_WINDOWS = """
SELECT id, payload FROM outbox WHERE kind = 'dispatcher.window' AND "doneAt" IS NULL
  AND NOT id = ANY(CAST(:shown AS text[]))
ORDER BY "dueAt", id LIMIT :limit
"""

MARK_SHOWN = f"""
UPDATE outbox SET "doneAt" = {NOW}
WHERE kind = 'dispatcher.window' AND "doneAt" IS NULL AND id = ANY(CAST(:shown AS text[]))
"""

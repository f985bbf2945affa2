"""The SQL of live checks: since when a post is live, and what is written when it is gone."""

from minitik_dagster.publishing.queries import NOW

LIVE_SINCE = """
SELECT COALESCE("verifiedAt", "acceptedAt", "dueAt") AS since FROM publications WHERE id = :id
"""

# In the transaction that moves the publication to `removed`: the fact with its time, and the notice
# for the post's owner, which is sent from the outbox.
REMOVAL_FACT = f"""
INSERT INTO audit_log (id, at, actor, action, subject, detail)
VALUES (:row_id, {NOW}, 'live check', 'publication.removed', :id, CAST(:detail AS jsonb))
"""

"""Notices to people: queued in the transaction that makes the fact true, sent from the outbox after it.

A notice is an outbox row whose kind is the event's name and whose payload holds ids and plain words,
never a token or a text that a person wrote.
"""

import json
from typing import Any, Final

from minitik_dagster.ids import new_id

# What happened to an account, and why it cannot publish (payload: userId, accountId, platform,
# status, reason, heldPosts).
ACCOUNT_DISCONNECTED: Final = "account.disconnected"
# An account that is still connected, but of which the platform told something that may stop its posts
# (payload: userId, accountId, platform, reason, fix).
ACCOUNT_UNHEALTHY: Final = "account.unhealthy"
# A refresh token that will end before its account's next post (payload: userId, accountId, platform,
# expiresAt, days).
ACCOUNT_EXPIRES_SOON: Final = "account.expires_soon"
# A post that will not make it unless somebody acts (payload: userId, accountId, publicationId, platform,
# dueAt, reason, fix).
PUBLICATION_AT_RISK: Final = "publication.at_risk"
PUBLICATION_REMOVED: Final = "publication.removed"
# A scheduled job that falls due soon (payload: userId, contentId, scheduledJobId, scheduledAt).
SCHEDULE_REMINDER: Final = "schedule.reminder"
# What a day has brought (payload: userId, day, and the sums of what is known).
ANALYTICS_UPDATE: Final = "analytics.update"
# One notice for one browser (payload: the notice's, with `notice`, its kind, and `subscriptionId`).
PUSH: Final = "notice.push"
# A sign-in link by e-mail (payload: email, and the link's single-use token sealed by the vault; `site`
# where it was asked for at a deployment that is not the database's own, which alone sends it).
SIGN_IN_LINK: Final = "sign_in.link"

QUEUE_NOTICE: Final = """
INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
VALUES (:row_id, :kind, CAST(:payload AS jsonb), statement_timestamp() AT TIME ZONE 'UTC', 0,
    statement_timestamp() AT TIME ZONE 'UTC')
"""


def notice(kind: str, **facts: Any) -> dict[str, str]:
    """Return the parameters of QUEUE_NOTICE for one event; `facts` are written as they are."""
    return {"row_id": new_id(), "kind": kind, "payload": json.dumps(facts)}

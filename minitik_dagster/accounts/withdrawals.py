"""An account whose access has ended: marked, and its owner told, in one statement.

Whoever learns it first (a refresh, a publication's call, a probe) runs
token_queries.WITHDRAW; a second one finds the
account no longer CONNECTED and changes nothing, so one ending makes one notice.
"""

from typing import Any

from minitik_dagster.errors import RevokedError
from minitik_dagster.ids import new_id


def withdrawal(account_id: str, error: RevokedError) -> dict[str, Any]:
    """Return WITHDRAW's parameters: EXPIRED where a new login is all that is missing, else REVOKED."""
    return {
        "account_id": account_id,
        "status": "EXPIRED" if error.expired else "REVOKED",
        "code": (error.code or error.outcome)[:100],
        "reason": error.reason,
        "notice_id": new_id(),
    }

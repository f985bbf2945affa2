"""How many posts a user may have waiting, by what was paid for (contracts.md, limits by tier)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.db.types import SubscriptionTier
from minitik_dagster.errors import FieldProblem

PENDING_JOBS: Final[Mapping[SubscriptionTier, int]] = MappingProxyType(
    {SubscriptionTier.FREE: 5, SubscriptionTier.PRO: 200, SubscriptionTier.BUSINESS: 2_000}
)

_COUNT_PENDING = text(
    """
    SELECT u."subscriptionTier" AS tier, (
        SELECT count(*) FROM scheduled_jobs j JOIN contents c ON c.id = j."contentId"
        WHERE c."userId" = u.id AND j.status IN ('PENDING', 'ACTIVE')
    ) AS pending
    FROM users u WHERE u.id = :user_id
    """
)


def pending_problem(session: Session, user_id: str) -> FieldProblem | None:
    """Say why one more job would be too many for the user; None while there is room."""
    row = session.execute(_COUNT_PENDING, {"user_id": user_id}).mappings().one()
    tier = SubscriptionTier(row["tier"])
    limit = PENDING_JOBS[tier]
    if row["pending"] < limit:
        return None
    return FieldProblem(
        "contentId",
        f"{row['pending']} posts are waiting, the limit of tier {tier.value} is {limit}",
        "wait until one has gone out, cancel one, or change to a larger tier",
    )

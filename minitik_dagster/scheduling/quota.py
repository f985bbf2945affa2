"""Instagram's posts of a moving day: how full it is at a post's instant, and when there is room again.

The platform tells how many, not when they were made. When is known of the posts made here only: the
instant told is the latest at which there is room; others' posts may age before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.db.types import from_db, to_db
from minitik_dagster.platforms.port import Quota

_PUBLISHED: Final = text(
    """
    SELECT "accountId" AS account_id, "acceptedAt" AS at FROM publications
    WHERE "accountId" = ANY(:ids)
        AND "acceptedAt" > (statement_timestamp() AT TIME ZONE 'UTC') - interval '24 hours'
    ORDER BY "acceptedAt"
    """
)
# What stands before this post in the account's day and has not been counted by the platform yet.
_PLANNED: Final = text(
    """
    SELECT "accountId" AS account_id, count(*) AS planned FROM publications
    WHERE "accountId" = ANY(:ids) AND "acceptedAt" IS NULL AND "dueAt" < :due_at
        AND stage IN ('scheduled','preparing','prepared','committing','parked')
    GROUP BY "accountId"
    """
)
_WAITS: Final = (
    "schedule it later, or leave the account out; it waits otherwise, asks every 10 minutes, and "
    "fails when it is later than maxLateness"
)


@dataclass(frozen=True)
class Usage:
    """When this account's posts of the last 24 hours were published here; how many come before."""

    published: tuple[datetime, ...] = ()
    planned: int = 0


@dataclass(frozen=True)
class QuotaProblem:
    """The day is full at the post's instant; `certain` where it stays full until the post is too late."""

    message: str
    fix: str
    certain: bool


def usage_of(session: Session, account_ids: Sequence[str], due_at: datetime) -> Mapping[str, Usage]:
    """Return what is known here of the accounts' days."""
    if not account_ids:
        return {}
    times: dict[str, list[datetime]] = {}
    for row in session.execute(_PUBLISHED, {"ids": list(account_ids)}).mappings():
        times.setdefault(row["account_id"], []).append(from_db(row["at"]))
    values = {"ids": list(account_ids), "due_at": to_db(due_at)}
    planned = {
        row["account_id"]: row["planned"] for row in session.execute(_PLANNED, values).mappings()
    }
    return {one: Usage(tuple(times.get(one, ())), planned.get(one, 0)) for one in account_ids}


def quota_problem(
    quota: Quota, usage: Usage, due_at: datetime, latest: datetime
) -> QuotaProblem | None:
    """Judge whether there is room at `due_at`; a post may go out until `latest`."""
    ages = [at + quota.window for at in usage.published]
    staying = [at for at in ages if at > due_at]
    then = quota.used - (len(ages) - len(staying)) + usage.planned
    if then < quota.total:
        return None
    # So many must age before there is room; what is planned here ages later than all of them.
    needed = then - quota.total + 1
    free_at = staying[needed - 1] if needed <= len(staying) else None
    known = len(ages) >= quota.used and usage.planned == 0
    counted = f"has published {quota.used} of {quota.total} posts in 24 hours"
    if usage.planned:
        counted += f", and {usage.planned} more are to go out before this one"
    when = "when there is room again is not known"
    if free_at is not None:
        when = f"there is room again by {free_at:%Y-%m-%d %H:%M} UTC"
    return QuotaProblem(
        f"{counted} (quota_usage {quota.used}, quota_total {quota.total}); {when}",
        _WAITS,
        certain=known and free_at is not None and free_at > latest,
    )

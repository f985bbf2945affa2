"""YouTube's uploads of a day belong to our whole app: how many are planned for the day of a post.

The day is California's, where the quota is reset (YouTube "Quota calculator"; resilience/limits_table.py).
What is beyond the budget would wait for the next day, and be late for everybody.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.db.types import to_db
from minitik_dagster.errors import FieldProblem
from minitik_dagster.resilience.limits_table import LIMITS, PACIFIC

_LIMIT: Final = LIMITS["youtube.uploads"]
# Both parts read an index whose predicate is repeated here.
_TAKEN: Final = text(
    """
    SELECT (SELECT count(*) FROM publications
            WHERE platform = 'YOUTUBE' AND "dueAt" >= :begin AND "dueAt" < :end
                AND stage IN ('scheduled','preparing','prepared','parked','paused','held'))
        + (SELECT count(*) FROM publications
            WHERE platform = 'YOUTUBE' AND "committedAt" IS NOT NULL
                AND "committedAt" >= :begin AND "committedAt" < :end)
    """
)


def upload_day(due_at: datetime) -> tuple[datetime, datetime]:
    """Return when the Californian day of an instant begins and ends, in UTC."""
    begin = due_at.astimezone(PACIFIC).replace(hour=0, minute=0, second=0, microsecond=0)
    # A wall-clock day: 23 or 25 hours where the clocks change.
    end = (begin.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=PACIFIC)
    return begin.astimezone(UTC), end.astimezone(UTC)


def day_problem(
    session: Session, budget: int, due_at: datetime, wanted: int
) -> FieldProblem | None:
    """Say so when the day's uploads do not hold `wanted` more; None while they do."""
    begin, end = upload_day(due_at)
    values = {"begin": to_db(begin), "end": to_db(end)}
    taken = session.execute(_TAKEN, values).scalar_one()
    if taken + wanted <= budget:
        return None
    day = due_at.astimezone(PACIFIC).date()
    return FieldProblem(
        "scheduledAt",
        f"{taken} of the {budget} YouTube uploads of {day} (Pacific time) are planned or made; "
        f"{wanted} more would wait for the next day (YouTube allows the app {_LIMIT.units})",
        "choose another day, leave YouTube out, or have the operator raise youtube.uploads "
        "(MINITIK_LIMITS)",
    )

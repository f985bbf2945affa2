"""Bodies of `/api/scheduling/bulk`."""

from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field, ValidationError

from minitik_dagster.api.invalid_values import problems_of
from minitik_dagster.api.schemas.base import Body, View
from minitik_dagster.api.schemas.scheduling import ScheduleBody
from minitik_dagster.errors import FieldProblem, InvalidInputError, MinitikError
from minitik_dagster.scheduling.bulk import MAX_ROWS, Row


class BulkBody(Body):
    """Posts to schedule, each as `POST /api/scheduling` takes one; a bad one spoils no other."""

    posts: list[Any] = Field(min_length=1, max_length=MAX_ROWS)


class RowResultView(View):
    """What became of one row: 201 scheduled now, 200 was scheduled already, else its problem."""

    index: int = Field(
        description="the place in `posts`, or the row after the CSV's header, from 0"
    )
    line: int | None = Field(None, description="the line of the CSV file the row begins on")
    status: int
    scheduled_job_id: str | None = None
    problem: dict[str, Any] | None = Field(
        None, description="as the same post alone would be answered (RFC 9457)"
    )


class BulkView(View):
    """Each row's own result, in order."""

    results: list[RowResultView]
    scheduled: int = Field(description="rows that were scheduled now (would be, in a dry run)")
    unchanged: int = Field(description="rows that were scheduled so before")
    failed: int
    dry_run: bool

    @classmethod
    def of(cls, results: Sequence[RowResultView], *, dry_run: bool) -> Self:
        """Show results with their sums."""
        statuses = [one.status for one in results]
        return cls(
            results=list(results),
            scheduled=statuses.count(201),
            unchanged=statuses.count(200),
            failed=sum(status >= 400 for status in statuses),
            dry_run=dry_run,
        )


def read_row(fields: object, user_id: str) -> Row | MinitikError:
    """Return the post that a row asks for, or what is wrong with it."""
    if not isinstance(fields, dict):
        return InvalidInputError(
            FieldProblem("posts", "holds what is no JSON object", "send an object for each post")
        )
    try:
        body = ScheduleBody.model_validate(fields)
        return Row(body.wish(user_id), body.when(), body.priority, body.lateness)
    except ValidationError as error:
        return InvalidInputError(*problems_of(error.errors()))
    except MinitikError as error:
        return error

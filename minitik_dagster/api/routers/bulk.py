"""`POST /api/scheduling/bulk`: many posts by JSON or CSV, each with its own result."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from minitik_dagster.api import request_log
from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.dependencies import EngineDep, SessionDep, SettingsDep
from minitik_dagster.api.idempotency import OnceDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.problems import problem_of, request_id_of
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.bulk import BulkBody, BulkView, RowResultView, read_row
from minitik_dagster.api.schemas.scheduling import ScheduleBody
from minitik_dagster.errors import FieldProblem, InvalidInputError, MinitikError
from minitik_dagster.scheduling.bulk import MAX_ROWS, Made, look_ahead_rows, schedule_rows
from minitik_dagster.scheduling.rows_csv import HEADER, OPTIONAL, read_rows

router = Router(prefix="/api/scheduling", tags=["scheduling"])
Writer = Annotated[Caller, Depends(require_scope("schedule:write"))]
# Twenty posts with options and words; a YouTube thumbnail in each does not belong in a list.
MAX_BYTES: Final = 4_000_000


@dataclass(frozen=True)
class Posts:
    """What was sent: each row's line in a CSV file (None in JSON), its fields, and its form's error."""

    body: BulkBody
    lines: tuple[int | None, ...]
    errors: tuple[MinitikError | None, ...]


async def read_posts(request: Request) -> Posts:
    """Read the body by its content type; InvalidInputError and FastAPI's own for what is neither."""
    data = await request.body()
    if len(data) > MAX_BYTES:
        raise InvalidInputError(
            FieldProblem("body", f"has {len(data)} bytes", f"send at most {MAX_BYTES} at once")
        )
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if kind == "text/csv":
        rows = read_rows(data, limit=MAX_ROWS)
        return Posts(
            BulkBody(posts=[row.fields for row in rows]),
            tuple(row.line for row in rows),
            tuple(row.error for row in rows),
        )
    if kind != "application/json":
        raise InvalidInputError(
            FieldProblem(
                "Content-Type", f"{kind[:64]!r} is not taken", "send application/json or text/csv"
            )
        )
    body = _from_json(data)
    nothing = (None,) * len(body.posts)
    return Posts(body, nothing, nothing)


def _from_json(data: bytes) -> BulkBody:
    try:
        return BulkBody.model_validate(json.loads(data))
    except json.JSONDecodeError as error:
        wrong = {"type": "json_invalid", "loc": ("body", error.pos), "ctx": {"error": error.msg}}
        raise RequestValidationError([wrong]) from None
    except (UnicodeDecodeError, RecursionError):
        raise InvalidInputError(
            FieldProblem("body", "is not JSON text", "send a JSON object in UTF-8")
        ) from None
    except ValidationError as error:
        told = [dict(one) | {"loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(told) from None


_TAKES: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["posts"],
                    "additionalProperties": False,
                    "properties": {
                        "posts": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": MAX_ROWS,
                            "items": {"$ref": f"#/components/schemas/{ScheduleBody.__name__}"},
                        }
                    },
                }
            },
            "text/csv": {
                "schema": {"type": "string"},
                "example": f"{','.join(HEADER)}\r\nc1,a1;a2,2026-12-24T18:00:00,Europe/Berlin,HIGH\r\n",
            },
        },
    }
}


@router.post(
    "/bulk",
    status_code=207,
    responses=problems(409, 422),
    openapi_extra=_TAKES,
    description=(
        "Schedules the rows in order; one that is refused spoils no other. Sent again it changes "
        "nothing: a row that is scheduled so already is answered with its job, one that was cancelled "
        f"stays so. As `text/csv` (UTF-8) the header is `{','.join(HEADER)}`, account ids separated by "
        f"`;`; columns that may be added: {', '.join(OPTIONAL)}."
    ),
)
def schedule_bulk(
    request: Request,
    caller: Writer,
    posts: Annotated[Posts, Depends(read_posts)],
    session: SessionDep,
    once: OnceDep,
    engine: EngineDep,
    settings: SettingsDep,
    dry_run: Annotated[bool, Query(alias="dryRun", description="only tell what would be")] = False,
) -> BulkView:
    """Schedule up to 20 posts by JSON or CSV."""
    rows = [
        error or read_row(fields, caller.user_id)
        for fields, error in zip(posts.body.posts, posts.errors, strict=True)
    ]
    known = not dry_run and once.known(engine)
    foresights = [None] * len(rows) if known else look_ahead_rows(engine, settings, rows)
    if not dry_run and (before := once.replay(session, posts.body)) is not None:
        return BulkView.model_validate(before["answer"])
    made = schedule_rows(session, rows, foresights, dry_run=dry_run)
    for one in made:
        if isinstance(one, Made):
            request_log.scheduled(one.publications)
    results = [
        _told(request, index, line, one)
        for index, (line, one) in enumerate(zip(posts.lines, made, strict=True))
    ]
    view = BulkView.of(results, dry_run=dry_run)
    if not dry_run:
        once.keep(session, posts.body, status=207, created={"answer": view.model_dump(mode="json")})
    return view


def _told(
    request: Request, index: int, line: int | None, made: Made | MinitikError
) -> RowResultView:
    if isinstance(made, Made):
        status = 201 if made.new else 200
        return RowResultView(index=index, line=line, status=status, scheduled_job_id=made.job_id)
    body, _ = problem_of(made, instance=request.url.path, request_id=request_id_of(request))
    return RowResultView(index=index, line=line, status=body["status"], problem=body)

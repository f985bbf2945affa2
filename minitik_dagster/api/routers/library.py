"""`/api/content`, what is there: list, read, change and delete."""

import re
from contextlib import suppress
from typing import Annotated, Final

from fastapi import BackgroundTasks, Depends, Header, Query, Request, Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.dependencies import EngineDep, ReadingDep, SessionDep, StateDep, StoreDep
from minitik_dagster.api.openapi import Problem, problems
from minitik_dagster.api.problems import problem_body, problem_type_of, request_id_of
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.content import (
    BulkDelete,
    BulkDeletedItem,
    BulkDeletedView,
    ChangeContent,
    ContentDetailView,
    ContentPage,
    ContentQuery,
    ContentView,
    DeletedContentView,
)
from minitik_dagster.api.state import ApiState
from minitik_dagster.db.models import Content
from minitik_dagster.errors import (
    DependencyDownError,
    FieldProblem,
    InvalidInputError,
    MinitikError,
)
from minitik_dagster.media.cleaning import Cleaner
from minitik_dagster.media.editing import change_content, version_of
from minitik_dagster.media.facts import MediaFacts
from minitik_dagster.media.library import Filter, get_content, list_contents
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.media.verdicts import judge_all
from minitik_dagster.scheduling.deletion import Posts, delete_content

router = Router(prefix="/api/content", tags=["content"])

Writer = Annotated[Caller, Depends(require_scope("content:write"))]
Reader = Annotated[Caller, Depends(require_scope("content:read"))]
_TAGS: Final = re.compile(r'\s*(?:W/)?"([^"]*)"\s*(?:,|$)')


async def wanted_versions(
    if_match: Annotated[
        str | None,
        Header(max_length=1_000, description="The ETag of the answer it was read by: else 412."),
    ] = None,
) -> frozenset[str] | None:
    """Read If-Match (RFC 9110, section 13.1.1); None where any version will do."""
    if if_match is None or if_match.strip() == "*":
        return None
    # A weak tag never matches here, and neither does what is no tag at all.
    found = _TAGS.finditer(if_match)
    return frozenset(tag[1] for tag in found if not tag[0].lstrip().startswith("W/"))


Versions = Annotated[frozenset[str] | None, Depends(wanted_versions)]
PostsQuery = Annotated[
    Posts, Query(description="`cancel` takes back what is scheduled; `refuse` answers 409.")
]


@router.get("", responses=problems())
def list_library(
    query: Annotated[ContentQuery, Query()],
    caller: Reader,
    store: StoreDep,
    session: ReadingDep,
) -> ContentPage:
    """List contents, newest first unless asked otherwise; go on with `cursor` or `page`."""
    found = list_contents(
        session, caller.user_id, Filter(**{n: getattr(query, n) for n in Filter.__match_args__})
    )
    return ContentPage(
        items=[ContentView.of(content, store) for content in found.items],
        total=found.total,
        total_is_lower_bound=found.total_is_lower_bound,
        page=found.page,
        limit=found.limit,
        pages=found.pages,
        next_cursor=found.next_cursor,
    )


@router.get("/{content_id}", responses=problems(404))
def read_content(
    content_id: str, caller: Reader, store: StoreDep, session: ReadingDep, response: Response
) -> ContentDetailView:
    """Read a content, with each platform's verdict on its video (none for one never probed)."""
    return _shown(get_content(session, caller.user_id, content_id), store, response)


@router.patch("/{content_id}", responses=problems(404, 412))
def change_library_content(
    content_id: str,
    body: ChangeContent,
    caller: Writer,
    store: StoreDep,
    transaction: SessionDep,
    versions: Versions,
    response: Response,
) -> ContentDetailView:
    """Change title or description; posts that are scheduled keep their captions."""
    changed = change_content(
        transaction, caller.user_id, content_id, body.wanted(), versions=versions
    )
    return _shown(changed, store, response)


@router.delete("/{content_id}", responses=problems(404, 409, 412))
def delete_library_content(
    content_id: str,
    caller: Writer,
    transaction: SessionDep,
    state: StateDep,
    versions: Versions,
    later: BackgroundTasks,
    posts: PostsQuery = "refuse",
) -> DeletedContentView:
    """Delete a content and its media, unless its posts are scheduled or being published."""
    gone = delete_content(transaction, caller.user_id, content_id, posts=posts, versions=versions)
    later.add_task(_clean, state)
    return DeletedContentView.of(gone)


@router.post("/bulk/delete", status_code=207, responses=problems())
def delete_library_contents(
    body: BulkDelete,
    caller: Writer,
    engine: EngineDep,
    state: StateDep,
    request: Request,
    later: BackgroundTasks,
) -> BulkDeletedView:
    """Delete up to 100 contents, each on its own: one that is refused keeps no other."""
    twice = next((each for each in body.ids if body.ids.count(each) > 1), None)
    if twice is not None:
        raise InvalidInputError(
            FieldProblem("ids", f"names {twice[:64]!a} twice", "name each content once")
        )
    results = []
    for index, content_id in enumerate(body.ids):
        try:
            with Session(engine, expire_on_commit=False) as session, session.begin():
                gone = delete_content(session, caller.user_id, content_id, posts=body.posts)
        except MinitikError as error:
            if isinstance(error, DependencyDownError):
                raise
            results.append(_failed(index, content_id, error, request))
        else:
            shown = DeletedContentView.of(gone)
            item = BulkDeletedItem(
                index=index,
                content_id=content_id,
                status=200,
                cancelled=shown.cancelled,
                undone=shown.undone,
            )
            results.append(item)
    later.add_task(_clean, state)
    deleted = sum(item.status == 200 for item in results)
    return BulkDeletedView(results=results, deleted=deleted, failed=len(results) - deleted)


def _failed(index: int, content_id: str, error: MinitikError, request: Request) -> BulkDeletedItem:
    kind = problem_type_of(error)
    problem = problem_body(
        kind,
        str(error),
        instance=request.url.path,
        request_id=request_id_of(request),
        more={"state": getattr(error, "state", None)},
    )
    return BulkDeletedItem(
        index=index,
        content_id=content_id,
        status=kind.status,
        problem=Problem.model_validate(problem),
    )


def _shown(content: Content, store: ObjectStore, response: Response) -> ContentDetailView:
    response.headers["ETag"] = f'"{version_of(content)}"'
    facts = MediaFacts.from_metadata(content.details)
    return ContentDetailView.with_verdicts(content, judge_all(facts) if facts else (), store)


def _clean(state: ApiState) -> None:
    """Delete now what was noted; what the bucket does not hear of is the job `tidy_uploads`'s."""
    with suppress(MinitikError, DBAPIError):
        sessions = sessionmaker(state.engine, expire_on_commit=False)
        Cleaner(sessions, state.object_store).work()

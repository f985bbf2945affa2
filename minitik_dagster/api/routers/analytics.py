"""`/api/analytics`: the dashboard, one content's numbers, refreshing them, and exports."""

from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, Query
from pydantic import AliasChoices, ConfigDict, Field, StrictStr
from pydantic.alias_generators import to_camel

from minitik_dagster.analytics.content_detail import content_detail
from minitik_dagster.analytics.dashboard import dashboard
from minitik_dagster.analytics.days import day_range, zone_named
from minitik_dagster.analytics.export_orders import order, read_order, write
from minitik_dagster.analytics.live_posts import database_now
from minitik_dagster.analytics.refresh import EVERY, refresh
from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.dependencies import EngineDep, SessionDep, StateDep
from minitik_dagster.api.idempotency import OnceDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.base import Body, Instant, View

router = Router(prefix="/api/analytics", tags=["analytics"])

Reader = Annotated[Caller, Depends(require_scope("analytics:read"))]
RangeName = Annotated[str, Query(alias="range", description="7d, 14d, 30d, 90d or 365d")]
ZoneName = Annotated[str | None, Query(max_length=64, description="an IANA zone; default UTC")]
Counts = dict[str, int | None]


class ChangeView(View):
    """A sum of increases beside the range before; null = not known."""

    value: int | None
    previous: int | None
    change: int | None
    change_percent: float | None


class DayView(View):
    """A day's increases; null = no reading on that day, never 0 for missing."""

    date: str
    views: int | None
    likes: int | None
    comments: int | None
    shares: int | None


class PlatformView(View):
    """A platform's increases over the range."""

    platform: str
    views: int | None
    likes: int | None
    comments: int | None
    shares: int | None
    engagement_rate: float | None


class TopContentView(View):
    """A content's increases over the range, over all its posts."""

    content_id: str
    title: str | None
    views: int | None
    likes: int | None
    comments: int | None
    shares: int | None


class DashboardView(View):
    """A person's numbers over a range; `capturedAt` is the youngest reading, `lagSeconds` its age."""

    range: str
    timezone: str
    from_: Annotated[str, Field(alias="from")]
    to: str
    captured_at: str | None
    lag_seconds: int | None
    totals: dict[str, ChangeView]
    engagement_rate: float | None
    series: list[DayView]
    platforms: list[PlatformView]
    top_contents: list[TopContentView]


class PostView(View):
    """One post: its counters as last read, its increases over the range, and day by day."""

    publication_id: str
    account_id: str
    platform: str
    platform_post_id: str | None
    live_at: str
    adopted: bool
    captured_at: str | None
    lag_seconds: int | None
    next_reading_at: str | None
    totals: Counts
    engagement_rate: float | None
    increases: Counts
    series: list[dict[str, Any]]


class ContentNumbersView(View):
    """One content's posts, and their sums."""

    content_id: str
    title: str
    range: str
    timezone: str
    from_: Annotated[str, Field(alias="from")]
    to: str
    totals: Counts
    increases: Counts
    publications: list[PostView]


class RefreshedNumbersView(View):
    """What a refresh read, in posts. `left` and `failed` stay as they were."""

    read: int
    already: int
    failed: int
    left: int
    next_allowed_at: Instant


class ExportBody(Body):
    """Which numbers, as what; `timeRange` is the older name of `range`."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=False, extra="forbid", frozen=True
    )

    format: Annotated[StrictStr, Field(max_length=20, examples=["csv", "json"])]
    range: Annotated[
        StrictStr, Field(max_length=20, validation_alias=AliasChoices("range", "timeRange"))
    ]


class OrderedView(View):
    """An export that is being written."""

    id: str
    status: str = "pending"


class ExportView(View):
    """An export; `url` is signed for an hour each time it is asked for."""

    id: str
    status: str
    format: str
    range: str
    rows: int | None
    error: str | None
    url: str | None
    expires_at: Instant | None


@router.get("/dashboard", responses=problems())
def read_dashboard(
    caller: Reader,
    state: StateDep,
    engine: EngineDep,
    span: RangeName = "30d",
    timezone: ZoneName = None,
) -> DashboardView:
    """Show what the caller's posts gained in a range of days, today included, and in the one before.

    Kept for 5 minutes. 503 while MongoDB is down; publishing does not need it.
    """
    zone = zone_named(timezone)

    def make() -> dict[str, Any]:
        with engine.connect() as connection:
            now = database_now(connection)
            days = day_range(span, now, zone)
            return dashboard(state.analytics, connection, caller.user_id, days, now)

    asked = ("dashboard", span, str(zone))
    return DashboardView.model_validate(
        state.answers.get_or_make(caller.user_id, asked, make), by_alias=True
    )


@router.get("/content/{content_id}", responses=problems(404))
def read_content_numbers(
    content_id: str,
    caller: Reader,
    state: StateDep,
    engine: EngineDep,
    span: RangeName = "30d",
    timezone: ZoneName = None,
) -> ContentNumbersView:
    """Show one content's posts: counters, what they gained in the range, and each day."""
    zone = zone_named(timezone)

    def make() -> dict[str, Any]:
        with engine.connect() as connection:
            now = database_now(connection)
            return content_detail(
                state.analytics,
                connection,
                caller.user_id,
                content_id,
                day_range(span, now, zone),
                now,
            )

    asked = ("content", content_id, span, str(zone))
    return ContentNumbersView.model_validate(
        state.answers.get_or_make(caller.user_id, asked, make), by_alias=True
    )


@router.post("/refresh", responses=problems(429))
def refresh_numbers(caller: Reader, state: StateDep, engine: EngineDep) -> RefreshedNumbersView:
    """Read the numbers of the caller's posts now, for 20 s at most; once per hour.

    429 with `nextAllowedAt` before that.
    """
    done = refresh(state.settings, engine, state.analytics, caller.user_id)
    state.answers.forget(caller.user_id)
    with engine.connect() as connection:
        now = database_now(connection)
    hour = now.replace(minute=0, second=0, microsecond=0)
    return RefreshedNumbersView(**vars(done), next_allowed_at=hour + EVERY)


@router.post("/export", status_code=202, responses=problems(409, 422))
def order_export(
    body: ExportBody,
    caller: Reader,
    session: SessionDep,
    state: StateDep,
    engine: EngineDep,
    once: OnceDep,
    tasks: BackgroundTasks,
) -> OrderedView:
    """Have a file written: a row per post and UTC day, with that day's increases."""
    analytics, objects = state.analytics, state.object_store
    if (before := once.replay(session, body)) is not None:
        return OrderedView(id=before["exportId"])
    made = order(session, caller.user_id, format_=body.format, span=body.range)
    once.keep(session, body, status=202, created={"exportId": made})
    tasks.add_task(write, engine, analytics, objects, made)
    return OrderedView(id=made)


@router.get("/exports/{export_id}", responses=problems(404))
def read_export(
    export_id: str,
    caller: Reader,
    session: SessionDep,
    state: StateDep,
    engine: EngineDep,
    tasks: BackgroundTasks,
) -> ExportView:
    """Show an export's state, and its link when it is ready; one left undone is taken up again.

    `expired` a week after it was written: order it again.
    """
    found = read_order(session, state.object_store, caller.user_id, export_id)
    if found.status in {"pending", "running"}:
        tasks.add_task(write, engine, state.analytics, state.object_store, export_id)
    return ExportView.model_validate(found, from_attributes=True)

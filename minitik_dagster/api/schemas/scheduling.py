"""Bodies of `/api/scheduling`."""

from collections.abc import Iterable
from datetime import timedelta
from math import ceil
from typing import Annotated, Any, Self

from pydantic import Field, StrictBool, StrictInt, StrictStr

from minitik_dagster.api.schemas.base import Body, FieldView, Id, Instant, View
from minitik_dagster.db.models import Publication
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import JobPriority, JobStatus, Platform, PublicationStatus
from minitik_dagster.errors import FieldProblem
from minitik_dagster.scheduling.counts import Queue, QueueMetrics
from minitik_dagster.scheduling.discards import Undone
from minitik_dagster.scheduling.instants import Disambiguation, ZonedInstant, resolve
from minitik_dagster.scheduling.jobs import JobPage, JobView
from minitik_dagster.scheduling.rules import Wish
from minitik_dagster.scheduling.schedule import DEFAULT_MAX_LATENESS, Scheduled

Options = Annotated[
    dict[str, Any],
    Field(
        description="`{tiktok:{},instagram:{},youtube:{},accounts:{<id>:{}}}`, the last wins; "
        "the caption is the option's, else the description, else the title"
    ),
]
MaxLateness = Annotated[
    StrictInt,
    Field(ge=1, le=30 * 86_400, description="seconds; a post later than this fails instead"),
]
ScheduledAt = Annotated[
    StrictStr,
    Field(
        max_length=64,
        description="ISO 8601. With an offset or Z that instant, without one a wall time in "
        "`timezone`. At most 30 days ahead.",
        examples=["2026-12-24T18:00:00"],
    ),
]
Timezone = Annotated[
    StrictStr, Field(max_length=64, description="an IANA name", examples=["Europe/Berlin"])
]
Choice = Annotated[
    Disambiguation,
    Field(description="which instant is meant where a clock change skips or doubles the time"),
]


class PublishBody(Body):
    """Publish a content on some accounts now."""

    content_id: Id
    account_ids: Annotated[list[Id], Field(max_length=100)]
    options: Options = Field(default_factory=dict)
    priority: JobPriority = JobPriority.NORMAL
    max_lateness: MaxLateness | None = None
    allow_duplicate: StrictBool = False

    def wish(self, user_id: str) -> Wish:
        """Return what the caller wants."""
        return Wish(
            user_id=user_id,
            content_id=self.content_id,
            account_ids=tuple(self.account_ids),
            options=self.options,
            allow_duplicate=self.allow_duplicate,
        )

    @property
    def lateness(self) -> timedelta:
        """How late the post may go out."""
        if self.max_lateness is None:
            return DEFAULT_MAX_LATENESS
        return timedelta(seconds=self.max_lateness)


class ScheduleBody(PublishBody):
    """Publish a content on some accounts at an instant."""

    scheduled_at: ScheduledAt
    timezone: Timezone | None = None
    disambiguation: Choice | None = None

    def when(self) -> ZonedInstant:
        """Return the one instant that is meant; InvalidInputError as scheduling.instants says."""
        return resolve(self.scheduled_at, self.timezone, disambiguation=self.disambiguation)


class ValidateBody(PublishBody):
    """Check a wish; without `scheduledAt` as if it were published now."""

    scheduled_at: ScheduledAt | None = None
    timezone: Timezone | None = None
    disambiguation: Choice | None = None


class ChangeBody(Body):
    """Move a job or change it; what is left out stays. `timezone` needs `scheduledAt`."""

    scheduled_at: ScheduledAt | None = None
    timezone: Timezone | None = None
    disambiguation: Choice | None = None
    priority: JobPriority | None = None
    max_lateness: MaxLateness | None = None
    options: Options | None = None
    allow_duplicate: StrictBool = False


class JobPublicationView(View):
    """One account's post of a job."""

    id: str
    account_id: str
    platform: Platform
    stage: Stage | None
    status: PublicationStatus

    @classmethod
    def of(cls, row: Publication) -> Self:
        """Show a publication in short."""
        return cls(
            id=row.id,
            account_id=row.account_id,
            platform=row.platform,
            stage=Stage(row.stage) if row.stage else None,
            status=row.status,
        )


class ScheduledJobView(View):
    """A scheduled job. `localTime` is the wall time in `timezone` that was asked for."""

    scheduled_job_id: str
    content_id: str
    scheduled_at: Instant
    local_time: str
    timezone: str
    priority: JobPriority
    status: JobStatus
    publications: list[JobPublicationView]
    warnings: list[FieldView] = Field(default_factory=list)

    @classmethod
    def of(cls, view: JobView) -> Self:
        """Show a stored job."""
        return cls(
            scheduled_job_id=view.job.id,
            content_id=view.job.content_id,
            scheduled_at=view.job.scheduled_at,
            local_time=view.local_time,
            timezone=view.job.timezone,
            priority=view.job.priority,
            status=view.job.status,
            publications=[JobPublicationView.of(row) for row in view.publications],
            warnings=[FieldView.of(problem) for problem in view.warnings],
        )

    @classmethod
    def created(cls, made: Scheduled) -> Self:
        """Show a job that was just made, with what its creator should know."""
        view = cls.of(JobView(made.job, made.publications))
        told = [FieldView.of(one) for one in made.warnings]
        return view.model_copy(update={"warnings": [*view.warnings, *told]})


class UndoneView(View):
    """What becomes of what was prepared for a post, in plain words."""

    publication_id: str
    platform: Platform
    text: str


class ChangedJobView(ScheduledJobView):
    """A job after it was moved, changed or cancelled; `undone` tells of what was prepared for it."""

    undone: list[UndoneView] = Field(default_factory=list)

    @classmethod
    def after(
        cls, view: JobView, undone: Iterable[Undone], warnings: Iterable[FieldProblem] = ()
    ) -> Self:
        """Show a job, what becomes of its preparation, and what to know of the change."""
        told = [UndoneView.model_validate(item, from_attributes=True) for item in undone]
        shown = cls.of(view)
        more = [FieldView.of(item) for item in warnings]
        return shown.model_copy(update={"undone": told, "warnings": [*shown.warnings, *more]})


class JobPageView(View):
    """A page of jobs, the latest instant first."""

    items: list[ScheduledJobView]
    total: int
    page: int
    limit: int
    pages: int

    @classmethod
    def of(cls, found: JobPage, page: int, limit: int) -> Self:
        """Show a page."""
        return cls(
            items=[ScheduledJobView.of(view) for view in found.items],
            total=found.total,
            page=page,
            limit=limit,
            pages=ceil(found.total / limit),
        )


class CountsView(View):
    """How many stand where."""

    active: int
    waiting: int
    delayed: int
    completed: int
    failed: int
    paused: int


class ThroughputView(View):
    """The last minute."""

    completed_last_minute: int
    failed_last_minute: int
    avg_processing_time_ms: int | None


class QueueView(View):
    """One queue's numbers."""

    name: str
    counts: CountsView
    throughput: ThroughputView

    @classmethod
    def of(cls, queue: Queue) -> Self:
        """Show a queue."""
        return cls(
            name=queue.name,
            counts=CountsView.model_validate(queue.counts, from_attributes=True),
            throughput=ThroughputView.model_validate(queue.throughput, from_attributes=True),
        )


class QueueMetricsView(View):
    """The queues in numbers, in the shape that operators know."""

    queues: list[QueueView]
    totals: CountsView
    collected_at: Instant

    @classmethod
    def of(cls, metrics: QueueMetrics) -> Self:
        """Show the numbers."""
        return cls(
            queues=[QueueView.of(queue) for queue in metrics.queues],
            totals=CountsView.model_validate(metrics.totals, from_attributes=True),
            collected_at=metrics.collected_at,
        )

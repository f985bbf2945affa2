"""Bodies of the library (`/api/content`): contents, what probing found, the platforms' verdicts."""

from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

from minitik_dagster.api.openapi import Problem
from minitik_dagster.api.schemas.scheduling import UndoneView
from minitik_dagster.api.schemas.uploads import ContentBody
from minitik_dagster.clock import iso_z
from minitik_dagster.db.models import Content
from minitik_dagster.db.types import ContentStatus, Platform
from minitik_dagster.media.editing import ContentChange
from minitik_dagster.media.facts import MediaFacts
from minitik_dagster.media.library import LIMIT_DEFAULT, LIMIT_MAX, SortBy, SortOrder
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.media.verdicts import Finding, Verdict
from minitik_dagster.scheduling.deletion import Deleted, Posts

Instant = Annotated[datetime, PlainSerializer(iso_z, return_type=str)]


FileSize = Annotated[int, PlainSerializer(str, return_type=str)]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class FindingView(ContentBody):
    """A rule that is not met."""

    rule: str
    found: str
    limit: str
    fix: str


class VerdictView(ContentBody):
    """A platform's judgement of the file."""

    platform: Platform
    accepted: bool
    errors: list[FindingView]
    warnings: list[FindingView]
    limits_version: str = Field(description="Of the table of limits it was judged by.")

    @classmethod
    def of(cls, verdict: Verdict) -> "VerdictView":
        """Show a verdict."""
        return cls(
            platform=verdict.platform,
            accepted=verdict.accepted,
            errors=[_finding(f) for f in verdict.errors],
            warnings=[_finding(f) for f in verdict.warnings],
            limits_version=verdict.limits_version,
        )


def _finding(finding: Finding) -> FindingView:
    return FindingView(rule=finding.rule, found=finding.found, limit=finding.limit, fix=finding.fix)


class MediaView(ContentBody):
    """What probing found; `duration` in seconds, `bitrate` in bits per second."""

    container: str
    duration: float | None
    width: int
    height: int
    fps: float | None
    bitrate: int | None
    rotation: int
    aspect_ratio: float = Field(description="Width by height as displayed; 0.5625 is 9:16.")
    pixel_format: str | None
    video_codec: str
    audio_codec: str | None
    audio_sample_rate: int | None
    audio_channels: int | None
    sha256: str | None

    @classmethod
    def of(cls, facts: MediaFacts) -> "MediaView":
        """Show the facts."""
        return cls(**{name: getattr(facts, name) for name in cls.model_fields})


class ContentView(ContentBody):
    """A content of the library; `thumbnailUrl` is presigned, for 45 minutes at least."""

    id: str
    title: str
    description: str | None
    status: ContentStatus
    key: str | None
    file_size: FileSize | None
    mime_type: str | None
    duration: int | None
    width: int | None
    height: int | None
    thumbnail_url: str | None
    error_code: str | None
    scheduled_at: Instant | None
    published_at: Instant | None
    created_at: Instant
    updated_at: Instant
    media: MediaView | None

    @classmethod
    def of(cls, content: Content, store: ObjectStore) -> "ContentView":
        """Show a content."""
        return cls(**_content_fields(content, store))


class ContentDetailView(ContentView):
    """A content with each platform's verdict on its video."""

    verdicts: list[VerdictView]

    @classmethod
    def with_verdicts(
        cls, content: Content, verdicts: tuple[Verdict, ...], store: ObjectStore
    ) -> "ContentDetailView":
        """Show a content and the verdicts."""
        shown = [VerdictView.of(verdict) for verdict in verdicts]
        return cls(**_content_fields(content, store), verdicts=shown)


class CompletedUploadView(ContentDetailView):
    """A video that is ready to be published."""

    content_id: str

    @classmethod
    def with_verdicts(
        cls, content: Content, verdicts: tuple[Verdict, ...], store: ObjectStore
    ) -> "CompletedUploadView":
        """Show a content that was completed."""
        shown = [VerdictView.of(verdict) for verdict in verdicts]
        return cls(**_content_fields(content, store), verdicts=shown, content_id=content.id)


def _content_fields(content: Content, store: ObjectStore) -> dict[str, object]:
    facts = MediaFacts.from_metadata(content.details)
    thumbnail = content.thumbnail_path
    return {
        "id": content.id,
        "title": content.title,
        "description": content.description,
        "status": content.status,
        "key": content.file_path,
        "file_size": content.file_size,
        "mime_type": content.mime_type,
        "duration": content.duration,
        "width": facts.width if facts else None,
        "height": facts.height if facts else None,
        "thumbnail_url": store.shown.url(thumbnail) if thumbnail else None,
        "error_code": content.error_code,
        "scheduled_at": content.scheduled_at,
        "published_at": content.published_at,
        "created_at": content.created_at,
        "updated_at": content.updated_at,
        "media": MediaView.of(facts) if facts else None,
    }


class ChangeContent(ContentBody):
    """What is to change; what is left out stays. A description of null is taken away."""

    title: str = Field(default="", description="1 to 500 characters.")
    description: str | None = Field(default=None, description="5,000 characters at most.")

    def wanted(self) -> ContentChange:
        """Say it to the domain, which checks it."""
        return ContentChange(**{name: getattr(self, name) for name in self.model_fields_set})


class DeletedContentView(ContentBody):
    """A content that is gone; `cancelled` are its posts, `undone` what was prepared for them."""

    content_id: str
    cancelled: list[str]
    undone: list[UndoneView]

    @classmethod
    def of(cls, deleted: Deleted) -> "DeletedContentView":
        """Show a deletion."""
        return cls(
            content_id=deleted.content_id,
            cancelled=list(deleted.cancelled),
            undone=[
                UndoneView.model_validate(undone, from_attributes=True) for undone in deleted.undone
            ],
        )


class BulkDelete(ContentBody):
    """Contents to delete, each on its own; `posts` says what becomes of what is scheduled."""

    ids: list[Annotated[str, Field(max_length=128)]] = Field(min_length=1, max_length=100)
    posts: Posts = "refuse"


class BulkDeletedItem(ContentBody):
    """One content's result: 200 with what was cancelled, or the problem it would be alone."""

    index: int
    content_id: str
    status: int
    cancelled: list[str] = Field(default_factory=list)
    undone: list[UndoneView] = Field(default_factory=list)
    problem: Problem | None = None


class BulkDeletedView(ContentBody):
    """What became of each, in the order of the request."""

    results: list[BulkDeletedItem]
    deleted: int
    failed: int


class ContentPage(ContentBody):
    """A page of the library."""

    items: list[ContentView]
    total: int
    total_is_lower_bound: bool
    page: int
    limit: int
    pages: int
    next_cursor: str | None


class ContentQuery(ContentBody):
    """Which contents, in which order."""

    status: Annotated[ContentStatus | None, BeforeValidator(_upper)] = None
    platform: Annotated[Platform | None, BeforeValidator(_upper)] = None
    search: str | None = Field(default=None, max_length=200, pattern=r"^[^\x00]*$")
    sort_by: SortBy = SortBy.CREATED_AT
    sort_order: SortOrder = SortOrder.DESC
    page: int = Field(default=1, ge=1, le=100_000)
    limit: int = Field(default=LIMIT_DEFAULT, ge=1, le=LIMIT_MAX)
    cursor: str | None = Field(default=None, max_length=4_000)

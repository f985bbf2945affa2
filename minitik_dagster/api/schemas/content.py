"""Bodies of `/api/content`: camelCase, no unknown field, `fileSize` a number in and a text out."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StrictInt
from pydantic.alias_generators import to_camel

from minitik_dagster.api.openapi import Problem
from minitik_dagster.api.schemas.scheduling import UndoneView
from minitik_dagster.clock import iso_z
from minitik_dagster.db.models import Content
from minitik_dagster.db.types import ContentStatus, Platform
from minitik_dagster.media.editing import ContentChange
from minitik_dagster.media.facts import MediaFacts
from minitik_dagster.media.library import LIMIT_DEFAULT, LIMIT_MAX, SortBy, SortOrder
from minitik_dagster.media.new_upload import MAX_FILE_BYTES, NewUpload
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.media.uploads import OpenUpload
from minitik_dagster.media.verdicts import Finding, Verdict
from minitik_dagster.scheduling.deletion import Deleted, Posts

Instant = Annotated[datetime, PlainSerializer(iso_z, return_type=str)]
FileSize = Annotated[int, PlainSerializer(str, return_type=str)]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class _Body(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class BeginUpload(_Body):
    """A video to upload."""

    title: str = Field(description="Shown in the library; the caption where there is no other.")
    filename: str
    mime_type: str = Field(description="video/mp4, video/quicktime or video/webm.")
    file_size: StrictInt = Field(description=f"Bytes, 1 to {MAX_FILE_BYTES}.")
    description: str | None = None

    def wanted(self) -> NewUpload:
        """Say it to the domain, which checks it."""
        return NewUpload(
            title=self.title,
            filename=self.filename,
            mime_type=self.mime_type,
            file_size=self.file_size,
            description=self.description,
        )


class ConfirmPart(_Body):
    """A part that was sent; `etag` from the header of the answer to its PUT."""

    etag: str | None = None


class NamedPart(_Body):
    """A part and its ETag."""

    part_number: StrictInt
    etag: str


class CompleteUpload(_Body):
    """Optional: the parts' ETags, for clients that did not confirm them one by one."""

    parts: list[NamedPart] = Field(default_factory=list, max_length=10_000)


class ChunkUrlView(_Body):
    """Where to PUT a part: exactly `length` bytes, within one hour."""

    part_number: int
    url: str
    length: int


class PartView(_Body):
    """A part that has arrived."""

    part_number: int
    etag: str | None
    size: int | None


class UploadView(_Body):
    """An open upload."""

    content_id: str
    upload_id: str
    key: str
    chunk_urls: list[ChunkUrlView]
    chunk_size: int
    total_chunks: int

    @classmethod
    def of(cls, upload: OpenUpload) -> "UploadView":
        """Show an upload that has begun."""
        return cls(
            content_id=upload.content_id,
            upload_id=upload.upload_id,
            key=upload.key,
            chunk_urls=_urls(upload),
            chunk_size=upload.chunk_size,
            total_chunks=upload.total_chunks,
        )


class ResumedUploadView(UploadView):
    """An open upload, with what has arrived; `chunkUrls` are for the rest."""

    parts: list[PartView]

    @classmethod
    def of(cls, upload: OpenUpload) -> "ResumedUploadView":
        """Show an upload that goes on."""
        return cls(
            content_id=upload.content_id,
            upload_id=upload.upload_id,
            key=upload.key,
            chunk_urls=_urls(upload),
            chunk_size=upload.chunk_size,
            total_chunks=upload.total_chunks,
            parts=[
                PartView(part_number=p.number, etag=p.etag or None, size=p.size)
                for p in upload.parts
            ],
        )


def _urls(upload: OpenUpload) -> list[ChunkUrlView]:
    return [
        ChunkUrlView(part_number=c.number, url=c.url, length=c.length) for c in upload.chunk_urls
    ]


class ConfirmedPartView(_Body):
    """A part that was noted, and all parts noted so far."""

    content_id: str
    part_number: int
    confirmed_parts: list[int]
    total_chunks: int


class AbortedUploadView(_Body):
    """An upload that was dropped."""

    content_id: str
    upload_id: str
    status: str


class FindingView(_Body):
    """A rule that is not met."""

    rule: str
    found: str
    limit: str
    fix: str


class VerdictView(_Body):
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


class MediaView(_Body):
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


class ContentView(_Body):
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


class ChangeContent(_Body):
    """What is to change; what is left out stays. A description of null is taken away."""

    title: str = Field(default="", description="1 to 500 characters.")
    description: str | None = Field(default=None, description="5,000 characters at most.")

    def wanted(self) -> ContentChange:
        """Say it to the domain, which checks it."""
        return ContentChange(**{name: getattr(self, name) for name in self.model_fields_set})


class DeletedContentView(_Body):
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


class BulkDelete(_Body):
    """Contents to delete, each on its own; `posts` says what becomes of what is scheduled."""

    ids: list[Annotated[str, Field(max_length=128)]] = Field(min_length=1, max_length=100)
    posts: Posts = "refuse"


class BulkDeletedItem(_Body):
    """One content's result: 200 with what was cancelled, or the problem it would be alone."""

    index: int
    content_id: str
    status: int
    cancelled: list[str] = Field(default_factory=list)
    undone: list[UndoneView] = Field(default_factory=list)
    problem: Problem | None = None


class BulkDeletedView(_Body):
    """What became of each, in the order of the request."""

    results: list[BulkDeletedItem]
    deleted: int
    failed: int


class ContentPage(_Body):
    """A page of the library."""

    items: list[ContentView]
    total: int
    total_is_lower_bound: bool
    page: int
    limit: int
    pages: int
    next_cursor: str | None


class ContentQuery(_Body):
    """Which contents, in which order."""

    status: Annotated[ContentStatus | None, BeforeValidator(_upper)] = None
    platform: Annotated[Platform | None, BeforeValidator(_upper)] = None
    search: str | None = Field(default=None, max_length=200, pattern=r"^[^\x00]*$")
    sort_by: SortBy = SortBy.CREATED_AT
    sort_order: SortOrder = SortOrder.DESC
    page: int = Field(default=1, ge=1, le=100_000)
    limit: int = Field(default=LIMIT_DEFAULT, ge=1, le=LIMIT_MAX)
    cursor: str | None = Field(default=None, max_length=4_000)

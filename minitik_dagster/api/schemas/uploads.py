"""Bodies of an upload in parts (`/api/content`, `/api/content/upload`)."""

from pydantic import BaseModel, ConfigDict, Field, StrictInt
from pydantic.alias_generators import to_camel

from minitik_dagster.media.new_upload import MAX_FILE_BYTES, NewUpload
from minitik_dagster.media.uploads import OpenUpload


class ContentBody(BaseModel):
    """A body of `/api/content`: camelCase, no unknown field."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class BeginUpload(ContentBody):
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


class ConfirmPart(ContentBody):
    """A part that was sent; `etag` from the header of the answer to its PUT."""

    etag: str | None = None


class NamedPart(ContentBody):
    """A part and its ETag."""

    part_number: StrictInt
    etag: str


class CompleteUpload(ContentBody):
    """Optional: the parts' ETags, for clients that did not confirm them one by one."""

    parts: list[NamedPart] = Field(default_factory=list, max_length=10_000)


class ChunkUrlView(ContentBody):
    """Where to PUT a part: exactly `length` bytes, within one hour."""

    part_number: int
    url: str
    length: int


class PartView(ContentBody):
    """A part that has arrived."""

    part_number: int
    etag: str | None
    size: int | None


class UploadView(ContentBody):
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
        return cls(**_upload_fields(upload))


class ResumedUploadView(UploadView):
    """An open upload, with what has arrived; `chunkUrls` are for the rest."""

    parts: list[PartView]

    @classmethod
    def of(cls, upload: OpenUpload) -> "ResumedUploadView":
        """Show an upload that goes on."""
        return cls(
            **_upload_fields(upload),
            parts=[
                PartView(part_number=p.number, etag=p.etag or None, size=p.size)
                for p in upload.parts
            ],
        )


def _upload_fields(upload: OpenUpload) -> dict[str, object]:
    return {
        "content_id": upload.content_id,
        "upload_id": upload.upload_id,
        "key": upload.key,
        "chunk_urls": [
            ChunkUrlView(part_number=c.number, url=c.url, length=c.length)
            for c in upload.chunk_urls
        ],
        "chunk_size": upload.chunk_size,
        "total_chunks": upload.total_chunks,
    }


class ConfirmedPartView(ContentBody):
    """A part that was noted, and all parts noted so far."""

    content_id: str
    part_number: int
    confirmed_parts: list[int]
    total_chunks: int


class AbortedUploadView(ContentBody):
    """An upload that was dropped."""

    content_id: str
    upload_id: str
    status: str

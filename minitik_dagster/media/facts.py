"""What is known of a video file: found by probing, kept in `contents.metadata`, judged by verdicts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, Final, Self

CONTAINER_OF_MIME: Final = {"video/mp4": "mp4", "video/quicktime": "mov", "video/webm": "webm"}
MIME_OF_CONTAINER: Final = {name: mime for mime, name in CONTAINER_OF_MIME.items()}
EXTENSION_OF_MIME: Final = {mime: f".{name}" for mime, name in CONTAINER_OF_MIME.items()}
MIME_TYPES: Final = tuple(CONTAINER_OF_MIME)


@dataclass(frozen=True)
class MediaFacts:
    """A probed video. `size` in bytes, `duration` in seconds, `bitrate` in bits per second.

    `width` and `height` are as displayed: a rotation the file asks for is applied. `index_first`
    says whether an MP4's or MOV's index (moov) comes before its data; None for other containers.
    None means that the file does not say. `fingerprint` is alike for files with the same bytes.
    """

    container: str
    mime_type: str
    size: int
    video_codec: str
    width: int
    height: int
    duration: float | None = None
    fps: float | None = None
    bitrate: int | None = None
    rotation: int = 0
    pixel_format: str | None = None
    audio_codec: str | None = None
    audio_sample_rate: int | None = None
    audio_channels: int | None = None
    index_first: bool | None = None
    sha256: str | None = None
    fingerprint: str | None = None

    @property
    def aspect_ratio(self) -> float:
        """Width by height as displayed: 0.5625 is 9:16."""
        return round(self.width / self.height, 4)

    @property
    def same_file(self) -> str | None:
        """What tells the same file again; None for one that was stored before it was known."""
        return self.fingerprint or (f"sha256:{self.sha256}" if self.sha256 else None)

    def to_metadata(self) -> dict[str, Any]:
        """Write the facts as `contents.metadata` keeps them (camelCase)."""
        return {_camel(name): value for name, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, stored: Mapping[str, Any] | None) -> Self | None:
        """Read what `to_metadata` wrote; None for a content that was never probed."""
        if not stored or "videoCodec" not in stored:
            return None
        known = {f.name: stored[_camel(f.name)] for f in fields(cls) if _camel(f.name) in stored}
        try:
            return cls(**known)
        except TypeError:
            return None


@cache
def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)

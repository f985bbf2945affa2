"""Covers and thumbnails that a user gives by URL: fetched on the one way out, and judged.

Sources: "IG User Media" (a reel's cover: JPEG, at most 8 MB), "Thumbnails: set" (JPEG or PNG). YouTube
takes 50 MB since September 2026; 2 MB, its older figure, is what every channel is known to be granted.
The same judgement stands at scheduling, at `validate` and again before the picture is used.
"""

from dataclasses import dataclass, field
from typing import Final

from minitik_dagster.errors import RejectedError, TransientError
from minitik_dagster.outbound import Outbound, OutboundFailedError, OutboundRefusedError

_SIGNATURES: Final = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}
_NAMES: Final = {"image/jpeg": "JPEG", "image/png": "PNG"}
PICTURE_SECONDS: Final = 10.0


@dataclass(frozen=True)
class PictureLimits:
    """What a platform takes as a picture, and the option that names it."""

    option: str
    kinds: tuple[str, ...]
    max_bytes: int

    @property
    def spoken(self) -> str:
        """The limits in words."""
        kinds = " or ".join(_NAMES[kind] for kind in self.kinds)
        return f"a {kinds} of at most {self.max_bytes:,} bytes"


@dataclass(frozen=True)
class Picture:
    """A picture's bytes and what they are."""

    kind: str
    body: bytes = field(repr=False)


INSTAGRAM_COVER: Final = PictureLimits("options.instagram.coverUrl", ("image/jpeg",), 8_000_000)
YOUTUBE_THUMBNAIL: Final = PictureLimits(
    "options.youtube.thumbnailUrl", ("image/jpeg", "image/png"), 2_000_000
)


def picture_kind(body: bytes) -> str | None:
    """Return what an image is by its first bytes, whatever its server calls it; None = neither."""
    found = (kind for kind, first in _SIGNATURES.items() if body.startswith(first))
    return next(found, None)


async def fetch_picture(
    outbound: Outbound, url: str, limits: PictureLimits, *, seconds: float = PICTURE_SECONDS
) -> Picture:
    """Fetch the picture that an option names.

    Raises RejectedError naming option, what was found and the fix; TransientError where its server does
    not answer now.
    """
    fix = f"give the public https address of {limits.spoken}, without redirects"
    try:
        got = await outbound.fetch(url, max_bytes=limits.max_bytes, seconds=seconds)
    except OutboundRefusedError as error:
        raise RejectedError(f"{limits.option}: {error}", code="picture_refused", fix=fix) from None
    except OutboundFailedError as error:
        raise TransientError(
            f"{limits.option}: {error}", code="picture_unreachable", fix=fix
        ) from None
    if got.status >= 500 or got.status in {408, 429}:
        raise TransientError(
            f"{limits.option}: its server answers {got.status}", code="picture_unreachable", fix=fix
        )
    if got.status != 200:
        raise RejectedError(
            f"{limits.option}: its server answers {got.status}", code="picture_missing", fix=fix
        )
    kind = picture_kind(got.body)
    if kind not in limits.kinds:
        found = f"is a {_NAMES[kind]}" if kind else "is no JPEG or PNG"
        raise RejectedError(f"{limits.option}: {found}", code="picture_kind", fix=fix)
    return Picture(kind, got.body)

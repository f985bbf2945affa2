"""What a creator may choose per platform: `options.tiktok`, `.instagram`, `.youtube` (contracts.md).

Names are the HTTP contract's (camelCase); unknown names are refused, so that a typing error cannot
change what is published.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Base64Bytes, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import FieldProblem, InvalidInputError, RejectedError
from minitik_dagster.platforms.pictures import YOUTUBE_THUMBNAIL, picture_kind

TikTokPrivacy = Literal[
    "PUBLIC_TO_EVERYONE", "MUTUAL_FOLLOW_FRIENDS", "FOLLOWER_OF_CREATOR", "SELF_ONLY"
]

# YouTube takes 50 MB; what travels in the options is kept in their row.
THUMBNAIL_BYTES = YOUTUBE_THUMBNAIL.max_bytes
_URL_CHARACTERS = 2_048
# Plain http is for loopback in a database stamped `sandbox` (minitik_dagster.outbound decides).
_URL = r"^(https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/])"


def _picture(body: bytes) -> bytes:
    if picture_kind(body) is None:
        raise ValueError("is neither a JPEG nor a PNG")
    return body


class _Options(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=False
    )

    title: str | None = None
    caption: str | None = None


class TikTokOptions(_Options):
    """TikTok's: `privacy` has no default, its guidelines forbid a preselected one."""

    privacy: TikTokPrivacy | None = None
    disable_comment: bool = False
    disable_duet: bool = False
    disable_stitch: bool = False
    cover_timestamp_ms: int | None = Field(default=None, ge=0, lt=2**31)
    brand_content: bool = False
    brand_organic: bool = False
    is_aigc: bool = False


class InstagramOptions(_Options):
    """Instagram's; `cover_url` is a public JPEG and wins over `thumb_offset_ms`."""

    share_to_feed: bool = True
    thumb_offset_ms: int | None = Field(default=None, ge=0)
    cover_url: str | None = Field(default=None, max_length=_URL_CHARACTERS, pattern=_URL)
    is_ai_generated: bool = False


class YouTubeOptions(_Options):
    """YouTube's; `thumbnail` is a JPEG or PNG, in JSON as base64; `thumbnail_url` names one instead."""

    privacy: Literal["public", "unlisted"] = "public"
    tags: tuple[str, ...] = ()
    category_id: str | None = Field(default=None, pattern=r"^\d{1,3}$")
    made_for_kids: bool = False
    embeddable: bool = True
    license: Literal["youtube", "creativeCommon"] = "youtube"
    public_stats_viewable: bool = True
    contains_synthetic_media: bool = False
    notify_subscribers: bool = True
    thumbnail: Annotated[Base64Bytes, AfterValidator(_picture)] | None = Field(
        default=None, max_length=THUMBNAIL_BYTES, repr=False
    )
    thumbnail_url: str | None = Field(default=None, max_length=_URL_CHARACTERS, pattern=_URL)


OPTIONS: Mapping[Platform, type[_Options]] = {
    Platform.TIKTOK: TikTokOptions,
    Platform.INSTAGRAM: InstagramOptions,
    Platform.YOUTUBE: YouTubeOptions,
}

_OptionsT = TypeVar("_OptionsT", bound=_Options)


def check_options(platform: Platform, given: Mapping[str, Any]) -> None:
    """Check one platform's options; raises InvalidInputError naming every bad field and the fix."""
    try:
        OPTIONS[platform].model_validate(dict(given))
    except ValidationError as error:
        raise InvalidInputError(*_problems(platform, error)) from None


def read_options(cls: type[_OptionsT], platform: Platform, given: Mapping[str, Any]) -> _OptionsT:
    """Read options that were checked when they came in; raises RejectedError if they are bad."""
    try:
        return cls.model_validate(dict(given))
    except ValidationError as error:
        first = _problems(platform, error)[0]
        raise RejectedError(
            f"{first.field}: {first.message}", code="invalid_options", fix=first.fix
        ) from None


def _problems(platform: Platform, error: ValidationError) -> list[FieldProblem]:
    cls = OPTIONS[platform]
    names = ", ".join(str(field.alias) for field in cls.model_fields.values())
    problems = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        path = ".".join(("options", platform.value.lower(), *(str(part) for part in item["loc"])))
        known = item["type"] != "extra_forbidden"
        fix = f"use one of: {names}" if not known else "correct the value or leave it out"
        problems.append(FieldProblem(path, item["msg"], fix))
    return problems

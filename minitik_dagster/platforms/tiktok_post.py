"""What TikTok is told of a post at init, within what the creator may do now (creator_info)."""

from collections.abc import Mapping
from typing import Any

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import RejectedError
from minitik_dagster.platforms.answers import whole_number
from minitik_dagster.platforms.limits import MEDIA_LIMITS, TIKTOK_TITLE_UTF16_UNITS
from minitik_dagster.platforms.options import TikTokOptions
from minitik_dagster.platforms.port import Post


def check_size(size: int) -> None:
    """Raise RejectedError, naming found and limit, for a file that TikTok cannot take."""
    most = MEDIA_LIMITS[Platform.TIKTOK].max_bytes
    if not 0 < size <= most:
        raise RejectedError(
            f"the file has {size:,} bytes; TikTok takes 1 to {most:,}",
            code="file_size",
            fix="upload a smaller file" if size else "upload a file that is not empty",
        )


def post_info(post: Post, options: TikTokOptions, creator: Mapping[str, Any]) -> dict[str, Any]:
    """Build init's post_info within what the creator may do now; RejectedError where it cannot."""
    offered = [str(level) for level in creator.get("privacy_level_options") or []]
    if options.privacy is None:
        raise RejectedError(
            "no TikTok privacy level was chosen",
            code="privacy_missing",
            fix=f"set options.tiktok.privacy to one of: {', '.join(offered)}",
        )
    if options.privacy not in offered:
        raise RejectedError(
            f"the account does not offer the privacy level {options.privacy}",
            code="privacy_level_option_mismatch",
            fix=f"set options.tiktok.privacy to one of: {', '.join(offered)}",
        )
    longest = whole_number(creator.get("max_video_post_duration_sec"))
    if (
        longest is not None
        and post.duration is not None
        and post.duration.total_seconds() > longest
    ):
        raise RejectedError(
            f"the video lasts {post.duration.total_seconds():.1f} s; "
            f"TikTok lets this account post up to {longest} s",
            code="duration_check_failed",
            fix="cut the video",
        )
    units = len(post.caption.encode("utf-16-le")) // 2
    if units > TIKTOK_TITLE_UTF16_UNITS:
        raise RejectedError(
            f"the caption has {units} UTF-16 units; TikTok takes {TIKTOK_TITLE_UTF16_UNITS}",
            code="caption_length",
            fix="shorten the caption",
        )
    info: dict[str, Any] = {
        "privacy_level": options.privacy,
        "title": post.caption,
        # What the creator switched off at TikTok stays off.
        "disable_comment": options.disable_comment or bool(creator.get("comment_disabled")),
        "disable_duet": options.disable_duet or bool(creator.get("duet_disabled")),
        "disable_stitch": options.disable_stitch or bool(creator.get("stitch_disabled")),
        "brand_content_toggle": options.brand_content,
        "brand_organic_toggle": options.brand_organic,
        "is_aigc": options.is_aigc,
    }
    if options.cover_timestamp_ms is not None:
        info["video_cover_timestamp_ms"] = options.cover_timestamp_ms
    return info

"""What TikTok is told of a post at init, within what the creator may do now (creator_info)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import RejectedError
from minitik_dagster.platforms.answers import whole_number
from minitik_dagster.platforms.limits import MEDIA_LIMITS, TIKTOK_TITLE_UTF16_UNITS
from minitik_dagster.platforms.options import TikTokOptions
from minitik_dagster.platforms.port import Notice, Post

INTERACTIONS: Final = ("comment", "duet", "stitch")


def check_size(size: int) -> None:
    """Raise RejectedError, naming found and limit, for a file that TikTok cannot take."""
    most = MEDIA_LIMITS[Platform.TIKTOK].max_bytes
    if not 0 < size <= most:
        raise RejectedError(
            f"the file has {size:,} bytes; TikTok takes 1 to {most:,}",
            code="file_size",
            fix="upload a smaller file" if size else "upload a file that is not empty",
        )


def creator_problems(
    post: Post, options: TikTokOptions, creator: Mapping[str, Any]
) -> Iterator[RejectedError]:
    """Hold a post against what its creator may do now; each error names what was found and the fix."""
    offered = [str(level) for level in creator.get("privacy_level_options") or []]
    if options.privacy is None:
        yield RejectedError(
            "no TikTok privacy level was chosen",
            code="privacy_missing",
            fix=f"set options.tiktok.privacy to one of: {', '.join(offered)}",
        )
    elif options.privacy not in offered:
        yield RejectedError(
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
        yield RejectedError(
            f"the video lasts {post.duration.total_seconds():.1f} s; "
            f"TikTok lets this account post up to {longest} s",
            code="duration_check_failed",
            fix="cut the video",
        )
    units = len(post.caption.encode("utf-16-le")) // 2
    if units > TIKTOK_TITLE_UTF16_UNITS:
        yield RejectedError(
            f"the caption has {units} UTF-16 units; TikTok takes {TIKTOK_TITLE_UTF16_UNITS}",
            code="caption_length",
            fix="shorten the caption",
        )


def switched_off(creator: Mapping[str, Any]) -> list[str]:
    """Return which of comment, duet and stitch the creator has switched off at TikTok."""
    return [name for name in INTERACTIONS if creator.get(f"{name}_disabled")]


def post_info(post: Post, options: TikTokOptions, creator: Mapping[str, Any]) -> dict[str, Any]:
    """Build init's post_info within what the creator may do now; RejectedError where it cannot."""
    for problem in creator_problems(post, options, creator):
        raise problem
    off = switched_off(creator)
    info: dict[str, Any] = {
        "privacy_level": options.privacy,
        "title": post.caption,
        # What the creator switched off at TikTok stays off.
        "disable_comment": options.disable_comment or "comment" in off,
        "disable_duet": options.disable_duet or "duet" in off,
        "disable_stitch": options.disable_stitch or "stitch" in off,
        "brand_content_toggle": options.brand_content,
        "brand_organic_toggle": options.brand_organic,
        "is_aigc": options.is_aigc,
    }
    if options.cover_timestamp_ms is not None:
        info["video_cover_timestamp_ms"] = options.cover_timestamp_ms
    return info


def foreseen(post: Post, options: TikTokOptions, creator: Mapping[str, Any]) -> Iterator[Notice]:
    """Say beforehand what `post_info` would refuse, and what would not be as the post's options read.

    An interaction that the options leave on is off all the same where the creator switched it off.
    """
    for problem in creator_problems(post, options, creator):
        option = "privacy" if problem.code.startswith("privacy") else ""
        option = "caption" if problem.code == "caption_length" else option
        yield Notice(problem.reason, problem.fix, option, refused=True)
    for name in switched_off(creator):
        if not getattr(options, f"disable_{name}"):
            yield Notice(
                f"the creator has switched {name} off at TikTok, so it stays off",
                f"set disable{name.title()} to true, or have the creator allow {name} in the app",
                f"disable{name.title()}",
            )

"""Options that would not be honoured are refused with the reason, each by what is known of the post.

Sources: "Direct Post" (an instant outside the video falls back to the first frame, unsaid), "IG User
Media" (a cover wins over an offset), "Content Sharing Guidelines" of TikTok, point 3 of its required
user experience (branded content cannot be private).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from minitik_dagster.db.models import Content
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import FieldProblem
from minitik_dagster.media.facts import MediaFacts

_MOMENTS: Final = {Platform.TIKTOK: "coverTimestampMs", Platform.INSTAGRAM: "thumbOffsetMs"}
_ONE_TEXT: Final = frozenset({Platform.TIKTOK, Platform.INSTAGRAM})


def dishonoured(
    platform: Platform, resolved: Mapping[str, Any], content: Content
) -> Iterator[FieldProblem]:
    """Find the options of a post, complete with its caption, that the platform would leave aside."""
    where = f"options.{platform.value.lower()}"
    title = resolved.get("title")
    if platform in _ONE_TEXT and title and title != resolved.get("caption"):
        yield FieldProblem(
            f"{where}.title",
            f"{platform.value} shows one text, the caption, so a title beside it would not be seen",
            f"put it into {where}.caption, or leave it out",
        )
    moment = resolved.get(_MOMENTS.get(platform, ""))
    seconds = _duration(content)
    if moment is not None and seconds is not None and moment > seconds * 1000:
        yield FieldProblem(
            f"{where}.{_MOMENTS[platform]}",
            f"{moment} ms lies outside the video, which lasts {seconds:.1f} s",
            f"set 0 to {int(seconds * 1000)}",
        )
    if resolved.get("brandContent") and resolved.get("privacy") == "SELF_ONLY":
        yield FieldProblem(
            f"{where}.brandContent",
            "TikTok does not take branded content that only its creator sees (privacy SELF_ONLY)",
            f"choose another {where}.privacy, or leave brandContent out",
        )
    for loses, wins in (("thumbOffsetMs", "coverUrl"), ("thumbnailUrl", "thumbnail")):
        if resolved.get(loses) is not None and resolved.get(wins) is not None:
            yield FieldProblem(
                f"{where}.{loses}", f"{wins} is given too, and there is one picture", "give one"
            )


def _duration(content: Content) -> float | None:
    facts = MediaFacts.from_metadata(content.details)
    if facts is not None and facts.duration is not None:
        return facts.duration
    return float(content.duration) if content.duration else None

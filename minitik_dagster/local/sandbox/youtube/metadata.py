"""What a video resource may say: title, description, tags, privacy, publishAt.

Rules: "Videos: insert", "Videos: update" and "Videos" (resource representation) of the Data API.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from minitik_dagster.local.sandbox.http import JsonObject, Reply
from minitik_dagster.local.sandbox.youtube.envelope import google_error

_TITLE_MAX: Final = 100
_DESCRIPTION_MAX_BYTES: Final = 5_000
_TAGS_MAX: Final = 500
PRIVACY: Final = ("private", "public", "unlisted")
_LICENSES: Final = ("youtube", "creativeCommon")
_SWITCHES: Final = (
    "embeddable", "publicStatsViewable", "selfDeclaredMadeForKids", "containsSyntheticMedia",
)  # fmt: skip


@dataclass(frozen=True)
class NewStatus:
    """A status part, read: its mutable fields and `publishAt` in epoch ms if it has one."""

    fields: dict[str, Any]
    publish_at_ms: int | None


def _tags_length(tags: list[str]) -> int:
    quoted = sum(len(tag) + (2 if " " in tag else 0) for tag in tags)
    return quoted + max(0, len(tags) - 1)


def read_snippet(snippet: Any, *, update: bool) -> JsonObject | Reply:
    """Return the snippet's mutable fields, or why they are refused; update needs a category."""
    if not isinstance(snippet, dict):
        return google_error("invalidVideoMetadata", "The request metadata is invalid: no snippet.")
    title = snippet.get("title")
    if not isinstance(title, str) or not title.strip() or len(title) > _TITLE_MAX or (
        "<" in title or ">" in title
    ):  # fmt: skip
        return google_error(
            "invalidTitle", "The request metadata specifies an invalid or empty video title."
        )
    text = snippet.get("description", "")
    if not isinstance(text, str) or len(text.encode()) > _DESCRIPTION_MAX_BYTES or (
        "<" in text or ">" in text
    ):  # fmt: skip
        return google_error(
            "invalidDescription", "The request metadata specifies an invalid video description."
        )
    tags = snippet.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags) or (
        _tags_length(tags) > _TAGS_MAX
    ):  # fmt: skip
        return google_error("invalidTags", "The request metadata specifies invalid video keywords.")
    category = snippet.get("categoryId", None if update else "22")
    if not isinstance(category, str) or not category.isdigit():
        return google_error(
            "invalidCategoryId", "The snippet.categoryId property specifies an invalid category ID."
        )
    result: JsonObject = {"title": title, "description": text, "categoryId": category}
    if tags:
        result["tags"] = tags
    for name in ("defaultLanguage", "defaultAudioLanguage"):
        if isinstance(snippet.get(name), str):
            result[name] = snippet[name]
    return result


def read_status(status: Any, *, was_public: bool) -> NewStatus | Reply:
    """Return the whole status part (what is omitted is cleared), or why it is refused.

    An omitted privacyStatus is `public`. `publishAt` needs privacyStatus private and a video that
    was never published.
    """
    if not isinstance(status, dict):
        return google_error("invalidVideoMetadata", "The request metadata is invalid: no status.")
    privacy = status.get("privacyStatus", "public")
    if privacy not in PRIVACY:
        return google_error("invalidVideoMetadata", "The privacyStatus is unknown.")
    if status.get("license", "youtube") not in _LICENSES:
        return google_error("forbiddenLicenseSetting", "The license is invalid.", 403)
    fields: dict[str, Any] = {
        "privacyStatus": privacy,
        "license": status.get("license", "youtube"),
        "embeddable": True,
        "publicStatsViewable": True,
    }
    for name in _SWITCHES:
        if name not in status:
            continue
        if not isinstance(status[name], bool):
            return google_error("invalidVideoMetadata", f"{name} must be a boolean.")
        fields[name] = status[name]
    if status.get("publishAt") is None:
        return NewStatus(fields, None)
    moment = _instant(status["publishAt"])
    if moment is None or privacy != "private" or was_public:
        return google_error(
            "invalidPublishAt",
            "The request metadata specifies an invalid scheduled publishing time.",
        )
    return NewStatus(fields, moment)


def _instant(text: Any) -> int | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else round(moment.timestamp() * 1000)

"""The video resource we send: snippet once, the whole status part each time."""

from typing import Any

from minitik_dagster.errors import RejectedError
from minitik_dagster.platforms.limits import (
    YOUTUBE_DESCRIPTION_BYTES,
    YOUTUBE_TAGS_CHARACTERS,
    YOUTUBE_TITLE_CHARACTERS,
)
from minitik_dagster.platforms.options import YouTubeOptions
from minitik_dagster.platforms.port import Post

# "People & Blogs": what YouTube itself assumes where none is named.
DEFAULT_CATEGORY = "22"


def snippet(post: Post, options: YouTubeOptions) -> dict[str, Any]:
    """Return the snippet part, the post's marker among its tags.

    Raises RejectedError naming what is too long or holds < or >.
    """
    title = options.title or post.title
    if not title.strip() or len(title) > YOUTUBE_TITLE_CHARACTERS:
        raise RejectedError(
            f"the title has {len(title)} characters; YouTube takes 1 to {YOUTUBE_TITLE_CHARACTERS}",
            code="invalidTitle",
            fix="set options.youtube.title",
        )
    described = len(post.caption.encode())
    if described > YOUTUBE_DESCRIPTION_BYTES:
        raise RejectedError(
            f"the description has {described:,} bytes; YouTube takes {YOUTUBE_DESCRIPTION_BYTES:,}",
            code="invalidDescription",
            fix="shorten the caption",
        )
    for name, text, code in (
        ("title", title, "invalidTitle"),
        ("description", post.caption, "invalidDescription"),
    ):
        if "<" in text or ">" in text:
            raise RejectedError(
                f"the {name} holds < or >, which YouTube refuses",
                code=code,
                fix=f"remove < and > from the {name}",
            )
    tags = [*options.tags, post.marker]
    # Commas between tags count, and so do the quotes that YouTube puts around a tag with spaces.
    length = sum(len(tag) + 2 * (" " in tag) for tag in tags) + len(tags) - 1
    if length > YOUTUBE_TAGS_CHARACTERS:
        raise RejectedError(
            f"the tags have {length} characters, our own among them; "
            f"YouTube takes {YOUTUBE_TAGS_CHARACTERS}",
            code="invalidTags",
            fix="use fewer or shorter tags",
        )
    return {
        "title": title,
        "description": post.caption,
        "tags": tags,
        "categoryId": options.category_id or DEFAULT_CATEGORY,
    }


def status_part(options: YouTubeOptions, privacy: str) -> dict[str, Any]:
    """Return every settable field of the status part: an update clears what is omitted."""
    return {
        "privacyStatus": privacy,
        "embeddable": options.embeddable,
        "license": options.license,
        "publicStatsViewable": options.public_stats_viewable,
        "selfDeclaredMadeForKids": options.made_for_kids,
        "containsSyntheticMedia": options.contains_synthetic_media,
    }

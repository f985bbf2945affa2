"""Where objects lie in the bucket, and how a file's name becomes part of a key."""

import unicodedata
from pathlib import PurePosixPath
from typing import Final

from minitik_dagster.media.facts import EXTENSION_OF_MIME

FILENAME_MAX_BYTES: Final = 120
_SEPARATORS: Final = {"/", "\\"}
_VIDEO_EXTENSIONS: Final = {".mp4", ".m4v", ".mov", ".qt", ".webm", ".mkv", ".avi"}


def content_key(user_id: str, content_id: str, filename: str, mime_type: str) -> str:
    """`content/{userId}/{contentId}/{filename}`, the name made safe."""
    return f"content/{user_id}/{content_id}/{safe_filename(filename, mime_type)}"


def thumbnail_key(user_id: str, content_id: str) -> str:
    """`thumbnails/{userId}/{contentId}/thumbnail.jpg`."""
    return f"thumbnails/{user_id}/{content_id}/thumbnail.jpg"


def export_key(user_id: str, span: str, stamp: str, extension: str) -> str:
    """`exports/{userId}/analytics-{range}-{ts}.{csv|json}`."""
    return f"exports/{user_id}/analytics-{span}-{stamp}.{extension}"


def safe_filename(filename: str, mime_type: str) -> str:
    """NFC, separators, control characters and leading dots replaced by `_`, at most 120 bytes.

    The extension is the type's own, whatever the name claimed; the store and the platforms that fetch
    the file go by it.
    """
    text = unicodedata.normalize("NFC", filename)
    text = "".join(
        "_" if char in _SEPARATORS or unicodedata.category(char).startswith("C") else char
        for char in text
    ).strip()
    stripped = text.lstrip(".")
    text = "_" * (len(text) - len(stripped)) + stripped
    path = PurePosixPath(text)
    stem = path.stem if path.suffix.lower() in _VIDEO_EXTENSIONS else text
    extension = EXTENSION_OF_MIME[mime_type]
    room = FILENAME_MAX_BYTES - len(extension)
    stem = stem.encode()[:room].decode(errors="ignore").rstrip(" .")
    return (stem or "video") + extension

"""Keys in the bucket: contracts.md, S3."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitik_dagster.media.keys import content_key, safe_filename, thumbnail_key


def test_keys_lie_where_the_contract_says() -> None:
    """`content/{userId}/{contentId}/{filename}` and the thumbnail's."""
    assert content_key("u", "c", "a.mp4", "video/mp4") == "content/u/c/a.mp4"
    assert thumbnail_key("u", "c") == "thumbnails/u/c/thumbnail.jpg"


@pytest.mark.parametrize(
    ("filename", "mime_type", "expected"),
    [
        ("walk.MP4", "video/mp4", "walk.mp4"),
        ("walk.mov", "video/mp4", "walk.mp4"),
        ("walk", "video/quicktime", "walk.mov"),
        ("notes.txt", "video/webm", "notes.txt.webm"),
        ("../../etc/passwd.mp4", "video/mp4", "___.._etc_passwd.mp4"),
        ("a\\b/c.mp4", "video/mp4", "a_b_c.mp4"),
        ("a\nb\0c.mp4", "video/mp4", "a_b_c.mp4"),
        (".hidden.mp4", "video/mp4", "_hidden.mp4"),
        ("...", "video/mp4", "___.mp4"),
        ("e\u0301te\u0301.mp4", "video/mp4", "\u00e9t\u00e9.mp4"),
        ("\u202egpj.mp4", "video/mp4", "_gpj.mp4"),
    ],
)
def test_a_name_is_made_safe(filename: str, mime_type: str, expected: str) -> None:
    """NFC; separators, control characters and leading dots replaced; extension of the type."""
    assert safe_filename(filename, mime_type) == expected


@given(st.text(max_size=300))
def test_any_name_becomes_one_segment_of_at_most_120_bytes(filename: str) -> None:
    """Whatever is sent: one plain segment, never a dot file, always with its extension."""
    name = safe_filename(filename, "video/mp4")
    assert len(name.encode()) <= 120
    assert "/" not in name
    assert not name.startswith(".")
    assert name.endswith(".mp4")
    assert not any(unicodedata.category(char).startswith("C") for char in name)

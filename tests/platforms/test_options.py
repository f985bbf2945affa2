"""The creator's choices per platform: what is not known is refused, by name."""

import base64
import json

import pytest

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import InvalidInputError, RejectedError
from minitik_dagster.platforms.options import (
    OPTIONS,
    TikTokOptions,
    YouTubeOptions,
    check_options,
    read_options,
)


@pytest.mark.parametrize(
    ("platform", "options"),
    [
        (Platform.TIKTOK, {"privacy": "SELF_ONLY", "disableDuet": True, "title": "t"}),
        (Platform.INSTAGRAM, {"shareToFeed": False, "thumbOffsetMs": 0, "caption": "c"}),
        (Platform.YOUTUBE, {"privacy": "unlisted", "tags": ["a"], "categoryId": "10"}),
    ],
)
def test_the_contracts_names_are_taken(platform: Platform, options: dict[str, object]) -> None:
    """camelCase, as the HTTP contract writes them."""
    check_options(platform, options)


@pytest.mark.parametrize(
    ("platform", "options", "field"),
    [
        (Platform.TIKTOK, {"privcy": "SELF_ONLY"}, "options.tiktok.privcy"),
        (Platform.TIKTOK, {"privacy": "public"}, "options.tiktok.privacy"),
        (Platform.TIKTOK, {"coverTimestampMs": -1}, "options.tiktok.coverTimestampMs"),
        (Platform.INSTAGRAM, {"coverUrl": "http://h/c.jpg"}, "options.instagram.coverUrl"),
        (Platform.YOUTUBE, {"thumbnailUrl": "http://h/c.jpg"}, "options.youtube.thumbnailUrl"),
        (Platform.YOUTUBE, {"privacy": "private"}, "options.youtube.privacy"),
        (Platform.YOUTUBE, {"publishAt": "2026-01-01T00:00:00Z"}, "options.youtube.publishAt"),
        (Platform.YOUTUBE, {"thumbnail": "not base64!"}, "options.youtube.thumbnail"),
    ],
)
def test_a_bad_choice_is_named_with_its_fix(
    platform: Platform, options: dict[str, object], field: str
) -> None:
    """The field, what is wrong, what to do; the same for a choice that was stored bad."""
    with pytest.raises(InvalidInputError) as caught:
        check_options(platform, options)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert problem.message
    assert problem.fix
    with pytest.raises(RejectedError, match=field):
        read_options(OPTIONS[platform], platform, options)


def test_a_thumbnail_survives_being_stored() -> None:
    """Base64 in JSON, bytes for the client; above 2 MB it is refused."""
    image = b"\xff\xd8\xff" + bytes(range(256)) * 40
    given = {"thumbnail": base64.b64encode(image).decode()}
    stored = YouTubeOptions.model_validate(given).model_dump(mode="json", by_alias=True)
    assert YouTubeOptions.model_validate(json.loads(json.dumps(stored))).thumbnail == image
    for bad in (image + b"x" * 2_000_001, b"GIF89a" + b"x" * 40):
        with pytest.raises(InvalidInputError, match="thumbnail"):
            check_options(Platform.YOUTUBE, {"thumbnail": base64.b64encode(bad).decode()})


def test_tiktok_has_no_preselected_privacy() -> None:
    """Its guidelines forbid one."""
    assert TikTokOptions().privacy is None

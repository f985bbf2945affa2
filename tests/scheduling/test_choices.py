"""What a publication will say and allow: merged, completed, checked."""

from datetime import UTC, datetime
from typing import Any

import pytest

from minitik_dagster.db.models import Account, Content
from minitik_dagster.db.types import AccountStatus, ContentStatus, Platform
from minitik_dagster.platforms.options import OPTIONS
from minitik_dagster.scheduling.choices import check_shape, resolve_options, unused_platforms

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def _content(title: str = "Title", description: str | None = None) -> Content:
    return Content(
        id="c1",
        user_id="u1",
        title=title,
        description=description,
        status=ContentStatus.DRAFT,
        created_at=NOW,
        updated_at=NOW,
    )


def _account(platform: Platform, details: dict[str, Any] | None = None) -> Account:
    return Account(
        id="a1",
        user_id="u1",
        platform=platform,
        platform_account_id="p1",
        access_token="sealed",
        status=AccountStatus.CONNECTED,
        connected_at=NOW,
        details=details,
    )


@pytest.mark.parametrize(
    ("options", "description", "caption"),
    [
        ({}, None, "Title"),
        ({}, "Words", "Words"),
        ({}, "  ", "Title"),
        ({"instagram": {"caption": "Option"}}, "Words", "Option"),
        ({"instagram": {"caption": ""}}, "Words", "Words"),
        ({"instagram": {"caption": "All"}, "accounts": {"a1": {"caption": "One"}}}, None, "One"),
    ],
)
def test_the_caption_is_the_option_else_the_description_else_the_title(
    options: dict[str, Any], description: str | None, caption: str
) -> None:
    """The account's option wins over the platform's; blank counts as absent."""
    choices = resolve_options(
        options, _content(description=description), _account(Platform.INSTAGRAM)
    )
    assert choices.options["caption"] == caption


def test_options_of_platform_and_account_are_merged_key_by_key() -> None:
    options = {
        "instagram": {"shareToFeed": False, "thumbOffsetMs": 5},
        "accounts": {"a1": {"thumbOffsetMs": 9}},
    }
    resolved = resolve_options(options, _content(), _account(Platform.INSTAGRAM)).options
    assert (resolved["shareToFeed"], resolved["thumbOffsetMs"]) == (False, 9)


@pytest.mark.parametrize("platform", list(Platform))
def test_what_is_stored_is_what_the_platform_client_reads(platform: Platform) -> None:
    """Stored options pass the same model again, defaults included: nothing is guessed later."""
    account = _account(platform, {"tiktok": {"defaultPrivacy": "SELF_ONLY"}})
    resolved = resolve_options({}, _content(), account).options
    model = OPTIONS[platform].model_validate(resolved)
    assert model.model_dump(mode="json", by_alias=True, exclude_none=True) == resolved


def test_tiktok_privacy_is_the_option_else_the_creators_own_default_else_refused() -> None:
    stored = _account(Platform.TIKTOK, {"tiktok": {"defaultPrivacy": "MUTUAL_FOLLOW_FRIENDS"}})
    given = {"tiktok": {"privacy": "SELF_ONLY"}}
    assert resolve_options(given, _content(), stored).options["privacy"] == "SELF_ONLY"
    assert resolve_options({}, _content(), stored).options["privacy"] == "MUTUAL_FOLLOW_FRIENDS"
    for details in (None, {}, {"tiktok": {"defaultPrivacy": "EVERYBODY"}}, {"tiktok": "x"}):
        choices = resolve_options({}, _content(), _account(Platform.TIKTOK, details))
        assert [problem.field for problem in choices.refused] == ["options.tiktok.privacy"]


@pytest.mark.parametrize(
    ("platform", "options", "field"),
    [
        (Platform.TIKTOK, {"caption": "\U0001f600" * 1101}, "options.tiktok.caption"),
        (Platform.INSTAGRAM, {"caption": "x" * 2201}, "options.instagram.caption"),
        (Platform.INSTAGRAM, {"caption": "#a " * 31}, "options.instagram.caption"),
        (Platform.INSTAGRAM, {"caption": "@a " * 21}, "options.instagram.caption"),
        (Platform.YOUTUBE, {"title": "x" * 101}, "options.youtube.title"),
        (Platform.YOUTUBE, {"title": "a < b"}, "options.youtube.title"),
        (Platform.YOUTUBE, {"caption": "ä" * 2501}, "options.youtube.caption"),
        (Platform.YOUTUBE, {"tags": ["x" * 250, "y" * 250]}, "options.youtube.tags"),
    ],
)
def test_a_text_beyond_the_platforms_limit_is_refused_naming_its_field(
    platform: Platform, options: dict[str, Any], field: str
) -> None:
    """Each by the platform's own unit: UTF-16 units, characters, bytes, hashtags."""
    account = _account(platform, {"tiktok": {"defaultPrivacy": "SELF_ONLY"}})
    choices = resolve_options({platform.value.lower(): options}, _content(), account)
    assert [problem.field for problem in choices.refused] == [field]
    assert choices.refused[0].fix


def test_a_text_at_the_platforms_limit_passes() -> None:
    tiktok = _account(Platform.TIKTOK, {"tiktok": {"defaultPrivacy": "SELF_ONLY"}})
    emoji = {"tiktok": {"caption": "\U0001f600" * 1100}}
    assert not resolve_options(emoji, _content(), tiktok).refused
    tags = {"youtube": {"tags": ["x" * 250, "y" * 249], "title": "t" * 100}}
    assert not resolve_options(tags, _content(), _account(Platform.YOUTUBE)).refused


def test_names_that_are_not_known_and_values_that_cannot_be_stored_are_named() -> None:
    options = {
        "vimeo": {},
        "tiktok": 3,
        "accounts": {"other": {}, "a1": 4},
        "instagram": {"caption": "a\x00"},
        "youtube": {"tags": ["\ud800"]},
    }
    fields = {problem.field for problem in check_shape(options, ("a1",))}
    assert fields == {
        "options.vimeo",
        "options.tiktok",
        "options.accounts.other",
        "options.accounts.a1",
        "options.instagram.caption",
        "options.youtube.tags",
    }
    assert check_shape({"tiktok": {}, "accounts": {"a1": {}}}, ("a1",)) == []


def test_options_without_an_account_of_their_platform_are_noticed() -> None:
    assert unused_platforms({"tiktok": {}, "youtube": {}}, {Platform.YOUTUBE}) == ["tiktok"]


def _seconds(duration: int) -> Content:
    content = _content(description="Words")
    content.duration = duration
    return content


@pytest.mark.parametrize(
    ("platform", "options", "field"),
    [
        (Platform.TIKTOK, {"title": "Unseen"}, "options.tiktok.title"),
        (Platform.INSTAGRAM, {"title": "Unseen"}, "options.instagram.title"),
        (Platform.TIKTOK, {"coverTimestampMs": 12_001}, "options.tiktok.coverTimestampMs"),
        (Platform.INSTAGRAM, {"thumbOffsetMs": 12_001}, "options.instagram.thumbOffsetMs"),
        (
            Platform.TIKTOK,
            {"brandContent": True, "privacy": "SELF_ONLY"},
            "options.tiktok.brandContent",
        ),
        (
            Platform.INSTAGRAM,
            {"coverUrl": "https://h/c.jpg", "thumbOffsetMs": 1},
            "options.instagram.thumbOffsetMs",
        ),
        (
            Platform.YOUTUBE,
            {"thumbnail": "/9j/4AAQ", "thumbnailUrl": "https://h/c.jpg"},
            "options.youtube.thumbnailUrl",
        ),
    ],
)
def test_an_option_that_would_not_be_honoured_is_refused_with_the_reason(
    platform: Platform, options: dict[str, Any], field: str
) -> None:
    """Nothing is dropped in silence."""
    account = _account(platform, {"tiktok": {"defaultPrivacy": "PUBLIC_TO_EVERYONE"}})
    choices = resolve_options({platform.value.lower(): options}, _seconds(12), account)
    (problem,) = choices.refused
    assert problem.field == field
    assert problem.message
    assert problem.fix


def test_a_title_is_the_caption_where_there_is_no_other_text() -> None:
    """Then it is seen, and taken."""
    for platform in (Platform.TIKTOK, Platform.INSTAGRAM):
        account = _account(platform, {"tiktok": {"defaultPrivacy": "SELF_ONLY"}})
        choices = resolve_options(
            {platform.value.lower(): {"title": "Seen", "coverTimestampMs": 0}
             if platform is Platform.TIKTOK else {"title": "Seen", "thumbOffsetMs": 0}},
            _content(),
            account,
        )  # fmt: skip
        assert (choices.options["caption"], choices.refused) == ("Seen", [])


def test_which_options_were_chosen_by_name_is_known() -> None:
    """A default that the platform overrules is told of; what was asked for is refused."""
    account = _account(Platform.TIKTOK, {"tiktok": {"defaultPrivacy": "SELF_ONLY"}})
    given = {"tiktok": {"disableDuet": False}, "accounts": {"a1": {"isAigc": True}}}
    choices = resolve_options(given, _content(), account)
    assert choices.chosen == {"disableDuet", "isAigc"}

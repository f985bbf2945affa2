"""Every option of a post is what the platform received: asserted on the sandbox's side."""

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from minitik_dagster.errors import RejectedError, ThrottledError, TransientError
from minitik_dagster.platforms.port import Handle
from tests.platforms.conftest import Stage
from tests.platforms.doubles import OpenGate

pytestmark = pytest.mark.anyio

_JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 200
_PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 200


async def _prepared(stage: Stage) -> Handle:
    return await stage.client.prepare(stage.post, stage.media, None, stage.desk)


async def _published(stage: Stage) -> dict[str, Any]:
    """Publish and return what the platform holds of the post."""
    handle = await _prepared(stage)
    await stage.client.commit(stage.post, stage.media, handle, stage.token, OpenGate())
    return _held(stage)


def _held(stage: Stage) -> dict[str, Any]:
    posts = stage.sandbox.call("GET", "/_sandbox/posts?all=1")["posts"]
    (post,) = [one for one in posts if one["account"] == stage.post.platform_account_id]
    return dict(post["options"])


def _picture(stage: Stage, body: bytes, name: str = "picture") -> str:
    """Put a picture beside the videos; return its URL."""
    path = stage.folder / f"{stage.post.publication_id}-{name}"
    path.write_bytes(body)
    return f"{stage.media._base_url}/{path.name}"


async def test_tiktok_is_told_every_option(tiktok: Stage) -> None:
    """Each switch by itself, so that no two can be mixed up."""
    switches = {
        "disableComment": "disable_comment",
        "disableDuet": "disable_duet",
        "disableStitch": "disable_stitch",
        "brandContent": "brand_content_toggle",
        "brandOrganic": "brand_organic_toggle",
        "isAigc": "is_aigc",
    }
    seen = set()
    for option, name_there in switches.items():
        stage = tiktok.with_options(
            privacy="MUTUAL_FOLLOW_FRIENDS", coverTimestampMs=1500, **{option: True}
        )
        await _prepared(stage)
        handle = stage.desk.handle
        told = stage.sandbox.call("GET", "/_sandbox/options?platform=tiktok&handle="
                                  f"{handle.external_id}")  # fmt: skip
        assert told["title"] == stage.post.caption
        assert told["privacy_level"] == "MUTUAL_FOLLOW_FRIENDS"
        assert told["video_cover_timestamp_ms"] == 1500
        on = {name for name in switches.values() if told[name] is True}
        assert on == {name_there}
        seen |= on
    assert seen == set(switches.values())


async def test_what_tiktoks_creator_switched_off_is_noted_in_the_ledger(tiktok: Stage) -> None:
    """The post stays within it, and its story says so."""
    tiktok.sandbox.set_limits(tiktok={"commentDisabled": True, "stitchDisabled": True})
    told = await _published(tiktok)
    assert (told["disable_comment"], told["disable_duet"], told["disable_stitch"]) == (
        True,
        False,
        True,
    )
    init = next(step for step in tiktok.desk.steps if step.name == "init")
    assert init.detail["switched_off"] == "comment, stitch"


async def test_tiktoks_longest_video_is_the_creators_own(tiktok: Stage) -> None:
    """max_video_post_duration_sec of this account, right before the post is opened."""
    tiktok.sandbox.set_limits(tiktok={"maxDurationSeconds": 30})
    long = replace(tiktok, post=replace(tiktok.post, duration=timedelta(seconds=31)))
    with pytest.raises(RejectedError, match=r"31\.0 s; TikTok lets this account post up to 30 s"):
        await _prepared(long)
    assert tiktok.calls("init") == []


async def test_instagram_is_told_every_option(instagram: Stage) -> None:
    cover = _picture(instagram, _JPEG)
    stage = instagram.with_options(shareToFeed=False, coverUrl=cover, isAiGenerated=True)
    assert await _published(stage) == {
        "caption": stage.post.caption,
        "share_to_feed": "false",
        "cover_url": cover,
        "is_ai_generated": "true",
    }


async def test_instagram_is_told_the_thumbnails_instant(instagram: Stage) -> None:
    """share_to_feed is always said: its default is not documented."""
    assert await _published(instagram.with_options(thumbOffsetMs=2500)) == {
        "caption": instagram.post.caption,
        "share_to_feed": "true",
        "thumb_offset": "2500",
    }


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (_PNG, "picture_kind"),
        (b"<html>", "picture_kind"),
        (_JPEG + b"\0" * 8_000_000, "picture_refused"),
        (None, "picture_missing"),
    ],
    ids=["png", "page", "too large", "missing"],
)
async def test_a_cover_that_instagram_would_refuse_costs_no_container(
    instagram: Stage, body: bytes | None, code: str
) -> None:
    """JPEG, at most 8 MB, there: looked at again just before."""
    url = _picture(instagram, body or b"")
    stage = instagram.with_options(coverUrl=url if body else url + "-nowhere")
    with pytest.raises(RejectedError, match="coverUrl") as caught:
        await _prepared(stage)
    assert caught.value.code == code
    assert "JPEG of at most 8,000,000 bytes" in caught.value.fix
    assert stage.calls("container") == []


async def test_a_cover_whose_server_does_not_answer_is_tried_again(
    instagram: Stage, unused_base_url: str
) -> None:
    """A passing fault of another server's is none of the post's."""
    with pytest.raises(TransientError) as caught:
        await _prepared(instagram.with_options(coverUrl=f"{unused_base_url}/c.jpg"))
    assert caught.value.code == "picture_unreachable"
    assert not caught.value.unhealthy


async def test_a_late_post_asks_instagrams_quota_before_it_is_tried_again(
    instagram: Stage,
) -> None:
    """engine.md, 9/2207042: content_publishing_limit is read anew, media_publish is not tried blindly."""
    instagram.sandbox.set_limits(instagram={"postsPerDay": 1})
    waiting = await _prepared(instagram)
    await _published(instagram)
    with pytest.raises(ThrottledError) as caught:
        await instagram.client.commit(
            instagram.post, instagram.media, waiting, instagram.token, OpenGate()
        )
    assert (caught.value.code, caught.value.retry_after) == ("9/2207042", timedelta(minutes=10))
    late = replace(instagram.post, due_at=datetime.now(UTC) - timedelta(seconds=1))
    asked = len(instagram.calls("publishing_limit"))
    with pytest.raises(ThrottledError, match="1 of 1 posts") as caught:
        await instagram.client.prepare(late, instagram.media, waiting, instagram.desk)
    assert caught.value.retry_after == timedelta(minutes=10)
    assert len(instagram.calls("publishing_limit")) == asked + 1
    instagram.sandbox.set_limits(instagram={"postsPerDay": 2})
    again = await instagram.client.prepare(late, instagram.media, waiting, instagram.desk)
    assert again.ready


async def test_youtube_is_told_every_option(youtube: Stage) -> None:
    """Title, tags and category at the upload; the status part whole, again with the update."""
    stage = youtube.with_options(
        title="Its own title",
        tags=["one", "two words"],
        categoryId="10",
        madeForKids=True,
        embeddable=False,
        license="creativeCommon",
        publicStatsViewable=False,
        containsSyntheticMedia=True,
        notifySubscribers=False,
        thumbnail=base64.b64encode(_PNG).decode(),
        privacy="unlisted",
    )
    assert await _published(stage) == {
        "title": "Its own title",
        "description": stage.post.caption,
        "categoryId": "10",
        "tags": ["one", "two words", stage.post.marker],
        "privacyStatus": "unlisted",
        "selfDeclaredMadeForKids": True,
        "embeddable": False,
        "license": "creativeCommon",
        "publicStatsViewable": False,
        "containsSyntheticMedia": True,
        "notifySubscribers": False,
        "thumbnail": {
            "bytes": len(_PNG),
            "sha256": hashlib.sha256(_PNG).hexdigest(),
            "contentType": "image/png",
        },
    }


async def test_youtubes_thumbnail_by_url_is_uploaded_from_what_was_fetched(
    youtube: Stage,
) -> None:
    """YouTube takes bytes, no URL; subscribers are told unless the creator says no."""
    told = await _published(youtube.with_options(thumbnailUrl=_picture(youtube, _JPEG)))
    assert told["thumbnail"] == {
        "bytes": len(_JPEG),
        "sha256": hashlib.sha256(_JPEG).hexdigest(),
        "contentType": "image/jpeg",
    }
    assert told["notifySubscribers"] is True


@pytest.mark.parametrize("fault", ["invalidImage", "forbidden", "uploadRateLimitExceeded", None])
async def test_a_thumbnail_that_is_refused_stops_no_post(youtube: Stage, fault: str | None) -> None:
    """A decoration may fail freely: its step says why, the video goes out at its instant."""
    url = _picture(youtube, _JPEG if fault else b"GIF89a")
    if fault:
        youtube.fault("thumbnail", "status", status=400, code=fault)
    told = await _published(youtube.with_options(thumbnailUrl=url))
    assert "thumbnail" not in told
    assert told["privacyStatus"] == "public"
    step = next(step for step in youtube.desk.steps if step.name == "thumbnail")
    assert step.outcome in {"rejected", "throttled"}
    assert step.code == (fault or "picture_kind")


async def test_a_thumbnail_that_fails_for_now_is_tried_again_while_there_is_time(
    youtube: Stage,
) -> None:
    youtube.fault("thumbnail", "status", status=503, count=2)
    told = await _published(youtube.with_options(thumbnailUrl=_picture(youtube, _JPEG)))
    assert told["thumbnail"]["bytes"] == len(_JPEG)
    outcomes = [step.outcome for step in youtube.desk.steps if step.name == "thumbnail"]
    assert outcomes == ["transient", "transient", "ok"]


async def test_near_the_instant_a_failing_thumbnail_is_left_out(youtube: Stage) -> None:
    """The instant comes first."""
    youtube.fault("thumbnail", "status", status=503, count=9)
    soon = replace(
        youtube.with_options(thumbnailUrl=_picture(youtube, _JPEG)),
        post=replace(
            youtube.with_options(thumbnailUrl=_picture(youtube, _JPEG)).post,
            due_at=datetime.now(UTC) + timedelta(seconds=10),
        ),
    )
    told = await _published(soon)
    assert "thumbnail" not in told
    assert len(soon.calls("thumbnail")) == 1

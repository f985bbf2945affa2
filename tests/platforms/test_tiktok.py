"""TikTok's own rules: creator_info, chunks, the late public id, what can be judged and what not."""

import os
import shutil
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import (
    HandleDeadError,
    RejectedError,
    ThrottledError,
    TransientError,
    UnknownOutcomeError,
)
from minitik_dagster.platforms.options import TikTokOptions
from minitik_dagster.platforms.port import Finding, Handle, Standing
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.platforms.tiktok_post import post_info
from tests.platforms.conftest import LARGE_BYTES, Stage, make_stage
from tests.platforms.doubles import OpenGate
from tests.platforms.wire import until_found

pytestmark = pytest.mark.anyio

_CREATOR: dict[str, Any] = {
    "privacy_level_options": ["PUBLIC_TO_EVERYONE", "SELF_ONLY"],
    "comment_disabled": True,
    "duet_disabled": False,
    "stitch_disabled": True,
    "max_video_post_duration_sec": 60,
}


async def _prepared(stage: Stage) -> Handle:
    return await stage.client.prepare(stage.post, stage.media, None, stage.desk)


async def _commit(stage: Stage, handle: Handle) -> str:
    receipt = await stage.client.commit(stage.post, stage.media, handle, stage.token, OpenGate())
    return receipt.code


async def _confirm(stage: Stage, handle: Handle, standing: Standing) -> Finding:
    return await until_found(lambda: stage.client.confirm(stage.post, handle, stage.desk), standing)


@pytest.mark.parametrize("code", ["spam_risk_too_many_posts", "reached_active_user_cap"])
async def test_an_error_that_comes_with_http_200_is_an_error(tiktok: Stage, code: str) -> None:
    """creator_info refuses with status 200 on purpose: the envelope decides."""
    tiktok.fault("creator_info", "status", status=200, code=code)
    with pytest.raises(ThrottledError) as caught:
        await _prepared(tiktok)
    assert caught.value.code == code
    assert tiktok.calls("init") == []


async def test_a_privacy_level_must_be_chosen_and_offered(
    tiktok: Stage, clients: PlatformClients
) -> None:
    """No preselected level; the refusal names the levels that the account offers."""
    none = replace(tiktok, post=replace(tiktok.post, options={}))
    with pytest.raises(RejectedError, match="no TikTok privacy level") as caught:
        await _prepared(none)
    assert "PUBLIC_TO_EVERYONE" in caught.value.fix
    private = make_stage(
        clients,
        tiktok.sandbox,
        Platform.TIKTOK,
        tiktok.folder,
        "http://127.0.0.1",
        private=True,
    )
    with pytest.raises(RejectedError, match="PUBLIC_TO_EVERYONE") as caught:
        await _prepared(private)
    assert "FOLLOWER_OF_CREATOR" in caught.value.fix
    assert private.calls("init") == []


async def test_what_the_creator_switched_off_stays_off(tiktok: Stage) -> None:
    """Comment, duet and stitch follow the creator's own settings, the post may only add to them."""
    options = TikTokOptions(privacy="SELF_ONLY", disable_duet=True, cover_timestamp_ms=1500)
    info = post_info(tiktok.post, options, _CREATOR)
    assert (info["disable_comment"], info["disable_duet"], info["disable_stitch"]) == (
        True,
        True,
        True,
    )
    assert info["video_cover_timestamp_ms"] == 1500
    assert info["title"] == tiktok.post.caption


@pytest.mark.parametrize(
    ("seconds", "caption", "code"),
    [(60.5, "short", "duration_check_failed"), (59.0, "🎬" * 1101, "caption_length")],
)
async def test_what_is_too_long_is_refused_before_anything_is_sent(
    tiktok: Stage, seconds: float, caption: str, code: str
) -> None:
    """Duration by creator_info's bound, the caption in UTF-16 units; found and limit are named."""
    post = replace(tiktok.post, caption=caption, duration=timedelta(seconds=seconds))
    with pytest.raises(RejectedError, match=r"60(\.5)? s|2202") as caught:
        post_info(post, TikTokOptions(privacy="SELF_ONLY"), _CREATOR)
    assert caught.value.code == code
    assert caught.value.fix


@pytest.mark.parametrize("size", [0, 4_000_000_001])
async def test_a_file_outside_the_limits_is_refused_without_a_call(
    tiktok: Stage, size: int
) -> None:
    """RejectedError names what was found and the limit."""
    os.truncate(tiktok.media.path, size)
    with pytest.raises(RejectedError, match="4,000,000,000") as caught:
        await _prepared(tiktok)
    assert f"{size:,}" in caught.value.reason
    assert tiktok.calls() == []
    tiktok.media.path.unlink()


async def test_the_commit_needs_no_object_store(tiktok: Stage) -> None:
    """The last chunk lies on local disk: what has been prepared commits though the store is gone."""
    stage = tiktok.with_file(LARGE_BYTES)
    sha256 = stage.media.sha256
    handle = await _prepared(stage)
    stage.media.path.unlink()
    assert await _commit(stage, handle) == "201"
    assert stage.public()[0]["sha256"] == sha256


async def test_progress_that_we_lost_is_told_by_a_416(tiktok: Stage) -> None:
    """A chunk that TikTok has already is not stored twice: Content-Range tells where it stands."""
    stage = tiktok.with_file(16_000_000)
    stage.fault("chunk", "drop-after")
    with pytest.raises(TransientError):
        await _prepared(stage)
    assert stage.desk.handle.progress["sent"] == 0
    stage.fault("status", "stale-read", delayMs=60_000)
    handle = await stage.client.prepare(stage.post, stage.media, stage.desk.handle, stage.desk)
    assert handle.progress["sent"] == 2
    assert [call["status"] for call in stage.calls("chunk")] == [None, 416, 206]
    assert await _commit(stage, handle) == "201"
    assert stage.public()[0]["sha256"] == stage.media.sha256


async def test_progress_is_saved_with_every_chunk(tiktok: Stage) -> None:
    """A crash costs one chunk, not the upload."""
    stage = tiktok.with_file(21_000_000)
    stage.fault("chunk", "drop-before", skip=2)
    with pytest.raises(TransientError):
        await _prepared(stage)
    assert stage.desk.handle.progress["sent"] == 2
    assert stage.desk.steps[-1].outcome == "transient"


async def test_a_private_post_is_live_without_an_id(tiktok: Stage) -> None:
    """SELF_ONLY posts never get a public id: live and final."""
    stage = tiktok.with_options(privacy="SELF_ONLY")
    handle = await _prepared(stage)
    await _commit(stage, handle)
    finding = await _confirm(stage, handle, Standing.LIVE)
    assert (finding.post_ids, finding.final, finding.permalink) == ((), True, None)


async def test_a_public_post_is_live_before_its_id_comes(tiktok: Stage) -> None:
    """PUBLISH_COMPLETE is live; moderation may hold the id back for hours; ids are text."""
    tiktok.sandbox.set_limits(tiktok={"moderationMs": 30_000})
    handle = await _prepared(tiktok)
    await _commit(tiktok, handle)
    finding = await _confirm(tiktok, handle, Standing.LIVE)
    assert (finding.post_ids, finding.final) == ((), False)
    tiktok.sandbox.call("POST", "/_sandbox/time", {"advanceSeconds": 31})
    finding = await _confirm(tiktok, handle, Standing.LIVE)
    assert finding.post_ids == (tiktok.public()[0]["id"],)
    assert finding.final
    assert finding.permalink == (
        f"https://www.tiktok.com/@{tiktok.account['username']}/video/{finding.post_ids[0]}"
    )


@pytest.mark.parametrize(
    ("reason", "standing"),
    [("internal", Standing.DEAD), ("spam_risk_text", Standing.REJECTED)],
)
async def test_a_failed_post_is_dead_or_rejected_by_its_reason(
    tiktok: Stage, reason: str, standing: Standing
) -> None:
    """`internal` allows a new handle, the others are final with the reason in plain words."""
    tiktok.fault("init", "fail-processing", code=reason)
    handle = await _prepared(tiktok)
    await _commit(tiktok, handle)
    finding = await _confirm(tiktok, handle, standing)
    assert finding.error is not None
    assert finding.code == reason
    found = await tiktok.client.find(tiktok.post, handle, tiktok.desk)
    assert found.standing is standing


async def test_an_expired_upload_url_makes_the_handle_dead(tiktok: Stage) -> None:
    """403 on the commit, with fewer bytes there: nothing can be published from it any more."""
    tiktok.sandbox.set_limits(tiktok={"uploadUrlTtlSeconds": 1})
    handle = await _prepared(tiktok)
    tiktok.sandbox.call("POST", "/_sandbox/time", {"advanceSeconds": 2})
    with pytest.raises(HandleDeadError) as caught:
        await _commit(tiktok, handle)
    assert caught.value.code == "upload_403"
    tiktok.desk.ahead = timedelta(hours=1, seconds=1)
    with pytest.raises(HandleDeadError):
        await tiktok.client.prepare(tiktok.post, tiktok.media, handle, tiktok.desk)
    found = await tiktok.client.find(tiktok.post, handle, tiktok.desk)
    assert found.standing is Standing.NOT_PUBLISHED
    tiktok.desk.ahead = timedelta(hours=1, minutes=6)
    found = await tiktok.client.find(tiktok.post, handle, tiktok.desk)
    assert found.standing is Standing.DEAD


@pytest.mark.parametrize("status", [403, 404])
async def test_a_refused_url_is_believed_only_after_the_status_was_read(
    tiktok: Stage, status: int
) -> None:
    """After a lost answer the post may be there: then a 403 is no reason for a second handle."""
    handle = await _prepared(tiktok)
    tiktok.fault("last_chunk", "drop-after")
    with pytest.raises(UnknownOutcomeError):
        await _commit(tiktok, handle)
    tiktok.fault("last_chunk", "status", status=status)
    assert await _commit(tiktok, handle) == f"upload_{status}_complete"
    tiktok.fault("last_chunk", "status", status=status)
    tiktok.fault("status", "drop-before")
    with pytest.raises(UnknownOutcomeError):
        await _commit(tiktok, handle)
    assert len(tiktok.public()) == 1


async def test_an_unknown_publish_id_proves_nothing(tiktok: Stage) -> None:
    """`find` cannot tell: a person decides, never a second post."""
    handle = await _prepared(tiktok)
    other = replace(handle, external_id="v_pub_file~v2-1.0")
    found = await tiktok.client.find(tiktok.post, other, tiktok.desk)
    assert found.standing is Standing.CANNOT_TELL
    assert found.error is not None


async def test_a_handle_for_another_file_is_not_gone_on_with(tiktok: Stage) -> None:
    """Bytes of two files would be mixed into one post."""
    handle = await _prepared(tiktok)
    shutil.copyfile(tiktok.media.path, tiktok.media.path.with_suffix(".bak"))
    tiktok.media.path.write_bytes(b"another file")
    with pytest.raises(HandleDeadError):
        await tiktok.client.prepare(tiktok.post, tiktok.media, handle, tiktok.desk)

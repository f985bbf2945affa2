"""YouTube's own rules: one resumable upload as private, the marker, the whole status part, quota."""

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from minitik_dagster.errors import (
    HandleDeadError,
    RejectedError,
    ThrottledError,
    TransientError,
)
from minitik_dagster.platforms.port import Handle, Standing
from tests.platforms.conftest import LARGE_BYTES, Stage
from tests.platforms.doubles import FileMedia, OpenGate

pytestmark = pytest.mark.anyio

_PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64


class BreakingMedia(FileMedia):
    """The object store stops answering once, half-way through the file."""

    broken = False
    starts: tuple[int, ...] = ()

    async def stream(self, start: int, length: int) -> AsyncIterator[bytes]:
        sent = 0
        self.starts = (*self.starts, start)
        async for piece in super().stream(start, length):
            yield piece
            sent += len(piece)
            if not self.broken and sent > self.size // 2:
                self.broken = True
                raise TransientError("the object store does not answer", code="s3")


async def _prepared(stage: Stage) -> Handle:
    return await stage.client.prepare(stage.post, stage.media, None, stage.desk)


async def _commit(stage: Stage, handle: Handle) -> None:
    await stage.client.commit(stage.post, stage.media, handle, stage.token, OpenGate())


async def _resource(stage: Stage, handle: Handle) -> dict[str, Any]:
    calls = stage.client._calls  # type: ignore[attr-defined] # reads what YouTube has stored
    got = await calls.api(
        "GET", f"/youtube/v3/videos?part=snippet,status&id={handle.external_id}", stage.token
    )
    return dict(got["items"][0])


async def test_the_upload_is_private_marked_and_never_set_to_publish_itself(
    youtube: Stage,
) -> None:
    """An orphaned upload stays private; the marker finds it again."""
    handle = await _prepared(youtube)
    video = await _resource(youtube, handle)
    assert video["status"]["privacyStatus"] == "private"
    assert "publishAt" not in video["status"]
    assert youtube.post.marker in video["snippet"]["tags"]
    assert (video["snippet"]["title"], video["snippet"]["description"]) == (
        youtube.post.title,
        youtube.post.caption,
    )
    assert len(youtube.calls("upload")) == 1


async def test_the_update_sends_the_whole_status_part(youtube: Stage) -> None:
    """videos.update clears what is omitted: every choice of the creator is sent again."""
    stage = youtube.with_options(madeForKids=True, embeddable=False, privacy="unlisted")
    handle = await _prepared(stage)
    await _commit(stage, handle)
    status = (await _resource(stage, handle))["status"]
    assert status["privacyStatus"] == "unlisted"
    assert status["selfDeclaredMadeForKids"] is True
    assert status["embeddable"] is False
    finding = await stage.client.confirm(stage.post, handle, stage.desk)
    assert (finding.standing, finding.code) == (Standing.LIVE, "unlisted")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"title": "x" * 101}, "invalidTitle"),
        ({"title": "  "}, "invalidTitle"),
        ({"title": "a < b"}, "invalidTitle"),
        ({"caption": "ä" * 2_501}, "invalidDescription"),
        ({"caption": "a > b"}, "invalidDescription"),
        ({"options": {"tags": ["long tag " * 10] * 6}}, "invalidTags"),
    ],
)
async def test_details_that_youtube_refuses_are_refused_before_a_session_is_spent(
    youtube: Stage, change: dict[str, Any], code: str
) -> None:
    """100 sessions a day: none for what is known to be refused; the fix is named."""
    stage = replace(youtube, post=replace(youtube.post, **change))
    with pytest.raises(RejectedError) as caught:
        await _prepared(stage)
    assert caught.value.code == code
    assert caught.value.fix
    assert stage.calls() == []


async def test_an_upload_goes_on_from_the_byte_that_youtube_has(youtube: Stage) -> None:
    """The session is asked for its offset, and only the rest is sent."""
    stage = youtube.with_file(LARGE_BYTES)
    media = BreakingMedia(stage.media.path, stage.media._base_url)
    stage = replace(stage, media=media)
    with pytest.raises(TransientError) as caught:
        await _prepared(stage)
    assert caught.value.code == "s3"
    handle = await stage.client.prepare(stage.post, media, stage.desk.handle, stage.desk)
    assert handle.external_id is not None
    assert len(stage.calls("session")) == 1
    assert media.starts[0] == 0 < media.starts[-1]
    await _commit(stage, handle)
    assert stage.public()[0]["sha256"] == media.sha256


async def test_a_session_that_is_gone_is_looked_for_by_its_marker_first(youtube: Stage) -> None:
    """The upload finished unseen: it is adopted, no second one is made."""
    youtube.fault("upload", "drop-after")
    with pytest.raises(TransientError):
        await _prepared(youtube)
    youtube.fault("status", "status", status=404)
    handle = await youtube.client.prepare(
        youtube.post, youtube.media, youtube.desk.handle, youtube.desk
    )
    assert handle.external_id is not None
    assert len(youtube.calls("session")) == 1
    await _commit(youtube, handle)
    assert youtube.public()[0]["id"] == handle.external_id


@pytest.mark.parametrize("status", [404, 410])
async def test_a_session_that_is_gone_without_a_video_is_dead(youtube: Stage, status: int) -> None:
    """Nothing carries the marker: a new session may be opened."""
    youtube.fault("upload", "drop-before")
    with pytest.raises(TransientError):
        await _prepared(youtube)
    youtube.fault("status", "status", status=status)
    with pytest.raises(HandleDeadError):
        await youtube.client.prepare(youtube.post, youtube.media, youtube.desk.handle, youtube.desk)
    assert len(youtube.calls("uploads_list")) == 1


async def test_a_used_up_quota_waits_until_midnight_pacific(youtube: Stage) -> None:
    """The limit is our app's, the time is California's."""
    youtube.fault("session", "throttle", code="quotaExceeded")
    with pytest.raises(ThrottledError) as caught:
        await _prepared(youtube)
    assert caught.value.until is not None
    assert caught.value.until > datetime.now(UTC)
    assert caught.value.until.minute == 0


@pytest.mark.parametrize(
    ("failure", "kind", "standing"),
    [
        ("rejected/duplicate", RejectedError, Standing.REJECTED),
        ("failed/uploadAborted", HandleDeadError, Standing.DEAD),
    ],
)
async def test_a_video_that_youtube_failed_is_seen_before_and_after(
    youtube: Stage, failure: str, kind: type[Exception], standing: Standing
) -> None:
    """Warming tells before the instant; find and confirm tell afterwards."""
    youtube.fault("upload", "fail-processing", code=failure.partition("/")[2])
    youtube.sandbox.set_limits(youtube={"processingMs": 0})
    handle = await _prepared(youtube)
    with pytest.raises(kind):
        await youtube.client.warm(youtube.post, handle, youtube.desk)
    found = await youtube.client.find(youtube.post, handle, youtube.desk)
    assert (found.standing, found.code) == (standing, failure)
    assert found.error is not None


async def test_a_video_deleted_before_the_instant_makes_the_handle_dead(youtube: Stage) -> None:
    """404 on the update is a documented refusal: the video is gone, nothing was published."""
    handle = await _prepared(youtube)
    removal = await youtube.client.delete(youtube.post, handle, None, youtube.desk)
    assert removal.done
    with pytest.raises(HandleDeadError) as caught:
        await _commit(youtube, handle)
    assert caught.value.code == "videoNotFound"


async def test_a_thumbnail_is_set_once_and_only_if_given(youtube: Stage) -> None:
    """It has no part in the commit, and is not sent again after a take-over."""
    await _prepared(youtube)
    assert youtube.calls("thumbnail") == []
    stage = youtube.with_options(thumbnail=base64.b64encode(_PNG).decode())
    handle = await _prepared(stage)
    assert len(stage.calls("thumbnail")) == 1
    assert handle.progress["thumbnail"] is True
    await stage.client.prepare(stage.post, stage.media, handle, stage.desk)
    assert len(stage.calls("thumbnail")) == 1


async def test_a_channel_is_needed(youtube: Stage) -> None:
    """A Google account without a channel is told what to do."""
    youtube.fault("channel", "status", status=401, code="youtubeSignupRequired")
    with pytest.raises(RejectedError) as caught:
        await youtube.client.identify(youtube.token)
    assert "create a channel" in caught.value.fix

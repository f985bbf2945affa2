"""Instagram's own rules: the container it fetches, the quota, and the id by list difference."""

import os
from dataclasses import replace
from datetime import timedelta

import pytest

from minitik_dagster.errors import (
    HandleDeadError,
    RejectedError,
    ThrottledError,
    TransientError,
    UnknownOutcomeError,
)
from minitik_dagster.platforms.instagram import POLL_SECONDS
from minitik_dagster.platforms.port import Handle, Standing
from tests.platforms.conftest import Stage
from tests.platforms.doubles import OpenGate

pytestmark = pytest.mark.anyio


async def _prepared(stage: Stage) -> Handle:
    return await stage.client.prepare(stage.post, stage.media, None, stage.desk)


async def _commit(stage: Stage, handle: Handle) -> tuple[str, ...]:
    receipt = await stage.client.commit(stage.post, stage.media, handle, stage.token, OpenGate())
    return receipt.post_ids


async def _lost_commit(stage: Stage, handle: Handle) -> None:
    stage.fault("media_publish", "drop-after")
    with pytest.raises(UnknownOutcomeError):
        await _commit(stage, handle)


@pytest.mark.parametrize("size", [0, 300_000_001])
async def test_a_file_above_300_mb_is_refused_with_found_and_limit(
    instagram: Stage, size: int
) -> None:
    """Refused before any call; the reason names both figures."""
    os.truncate(instagram.media.path, size)
    with pytest.raises(RejectedError, match=r"300,000,000 \(300 MB\)") as caught:
        await _prepared(instagram)
    assert f"{size:,}" in caught.value.reason
    assert instagram.calls() == []


async def test_a_caption_above_the_limit_is_refused_without_a_call(instagram: Stage) -> None:
    """2,200 characters."""
    stage = replace(instagram, post=replace(instagram.post, caption="x" * 2_201))
    with pytest.raises(RejectedError, match="2201"):
        await _prepared(stage)
    assert stage.calls() == []


async def test_the_live_quota_is_asked_before_a_container_is_spent(instagram: Stage) -> None:
    """A full day is throttled for ten minutes at a time, and says how full."""
    instagram.sandbox.set_limits(instagram={"postsPerDay": 1})
    handle = await _prepared(instagram)
    await _commit(instagram, handle)
    with pytest.raises(ThrottledError, match="1 of 1") as caught:
        await _prepared(instagram)
    assert caught.value.retry_after == timedelta(minutes=10)
    assert len(instagram.calls("container")) == 1


async def test_polls_grow_rarer_and_the_url_lives_as_long_as_the_container(
    instagram: Stage,
) -> None:
    """2, 5, 10, 30, then every 60 s; the presigned URL lives 24 h at most and is not stored."""
    instagram.fault("container", "slow-processing", delayMs=600)
    handle = await _prepared(instagram)
    seconds = [one.total_seconds() for one in instagram.desk.slept]
    expected = [*POLL_SECONDS, *[POLL_SECONDS[-1]] * len(seconds)][: len(seconds)]
    assert len(seconds) > len(POLL_SECONDS)
    assert seconds == expected
    assert instagram.media.lifetimes == [timedelta(hours=24)]
    assert instagram.media.path.name not in repr(handle) + repr(instagram.desk.steps)


@pytest.mark.parametrize(
    ("code", "kind"), [("352/2207026", RejectedError), ("-1/2207053", HandleDeadError)]
)
async def test_a_container_in_error_is_rejected_or_made_anew_by_its_subcode(
    instagram: Stage, code: str, kind: type[Exception]
) -> None:
    """A bad format is final; a fault of theirs allows a new container."""
    instagram.fault("container", "fail-processing", code=code)
    with pytest.raises(kind):
        await _prepared(instagram)
    assert instagram.desk.names() == ["container", "processing"]
    assert not instagram.desk.handle.ready


async def test_a_video_that_cannot_be_fetched_allows_a_new_container(instagram: Stage) -> None:
    """9004/2207052: our store did not answer Instagram."""
    instagram.media.path.rename(instagram.media.path.with_suffix(".gone"))
    instagram.media.path.with_suffix(".empty").touch()
    media = instagram.media
    media.path = media.path.with_suffix(".gone")
    gone = replace(instagram, media=type(media)(media.path, media._base_url + "/nowhere"))
    with pytest.raises(HandleDeadError) as caught:
        await _prepared(gone)
    assert "2207052" in caught.value.code


async def test_an_expired_container_is_seen_while_warming_and_after_a_commit(
    instagram: Stage,
) -> None:
    """24/2207008 alone proves nothing on a commit; the container's own word does."""
    instagram.sandbox.set_limits(instagram={"containerTtlSeconds": 5})
    handle = await _prepared(instagram)
    instagram.sandbox.call("POST", "/_sandbox/time", {"advanceSeconds": 6})
    with pytest.raises(HandleDeadError):
        await instagram.client.warm(instagram.post, handle, instagram.desk)
    with pytest.raises(UnknownOutcomeError):
        await _commit(instagram, handle)
    found = await instagram.client.find(instagram.post, handle, instagram.desk)
    assert found.standing is Standing.DEAD


async def test_a_container_that_is_not_ready_may_be_published_later(instagram: Stage) -> None:
    """9007/2207027 is a documented refusal."""
    instagram.fault("container", "slow-processing", delayMs=60_000)
    fields = {"media_type": "REELS", "video_url": instagram.media.fetch_url(timedelta(hours=1))}
    calls = instagram.client._calls  # type: ignore[attr-defined] # a container nobody polls
    container = await calls.create(instagram.token, instagram.post.platform_account_id, fields)
    handle = await instagram.desk.open_handle(external_id=container)
    with pytest.raises(TransientError) as caught:
        await _commit(instagram, handle)
    assert caught.value.code == "9007/2207027"
    found = await instagram.client.find(instagram.post, handle, instagram.desk)
    assert found.standing is Standing.CANNOT_TELL


async def test_a_repeat_that_is_refused_is_found_live(instagram: Stage) -> None:
    """Where media_publish may not be repeated, 24/2207008 is unknown and the container answers."""
    instagram.sandbox.set_limits(instagram={"repeatPublish": "refused"})
    handle = await instagram.client.warm(instagram.post, await _prepared(instagram), instagram.desk)
    await _lost_commit(instagram, handle)
    with pytest.raises(UnknownOutcomeError):
        await _commit(instagram, handle)
    found = await instagram.client.find(instagram.post, handle, instagram.desk)
    assert found.standing is Standing.LIVE
    assert found.post_ids == (instagram.public()[0]["id"],)


async def test_one_new_media_in_the_list_is_ours(instagram: Stage) -> None:
    """The id = the list now minus the list stored before the commit."""
    first = await _prepared(instagram)
    await _commit(instagram, first)
    handle = await instagram.client.warm(instagram.post, await _prepared(instagram), instagram.desk)
    await _lost_commit(instagram, handle)
    found = await instagram.client.find(instagram.post, handle, instagram.desk)
    assert found.standing is Standing.LIVE
    (ours,) = found.post_ids
    assert ours not in handle.progress["before"]
    assert found.permalink


async def test_two_new_media_are_never_guessed_between(instagram: Stage) -> None:
    """Live, id unresolved: a wrong id would bind another post's numbers to this one."""
    handle = await instagram.client.warm(instagram.post, await _prepared(instagram), instagram.desk)
    by_hand = await _prepared(instagram)
    await _commit(instagram, by_hand)
    await _lost_commit(instagram, handle)
    found = await instagram.client.find(instagram.post, handle, instagram.desk)
    assert (found.standing, found.post_ids, found.final) == (Standing.LIVE, (), True)


async def test_without_a_list_from_before_no_id_is_bound(instagram: Stage) -> None:
    """Warming failed: the post is live all the same."""
    handle = await _prepared(instagram)
    await _lost_commit(instagram, handle)
    found = await instagram.client.find(instagram.post, handle, instagram.desk)
    assert (found.standing, found.post_ids) == (Standing.LIVE, ())


async def test_an_outage_of_the_list_costs_the_id_not_the_fact(instagram: Stage) -> None:
    """PUBLISHED proves it live; the id may be asked for again."""
    handle = await instagram.client.warm(instagram.post, await _prepared(instagram), instagram.desk)
    await _lost_commit(instagram, handle)
    instagram.fault("list", "drop-before")
    found = await instagram.client.find(instagram.post, handle, instagram.desk)
    assert (found.standing, found.post_ids, found.final) == (Standing.LIVE, (), False)
    again = await instagram.client.confirm(instagram.post, handle, instagram.desk)
    assert again.post_ids == (instagram.public()[0]["id"],)


async def test_warming_again_keeps_the_first_list(instagram: Stage) -> None:
    """A list read after a commit that may have happened would hide its own post."""
    handle = await instagram.client.warm(instagram.post, await _prepared(instagram), instagram.desk)
    await _lost_commit(instagram, handle)
    again = await instagram.client.warm(instagram.post, handle, instagram.desk)
    assert again.progress["before"] == handle.progress["before"]


async def test_a_young_token_is_not_called_revoked(instagram: Stage) -> None:
    """A token of less than 24 hours cannot be renewed yet: try again later."""
    with pytest.raises(TransientError) as caught:
        await instagram.client.refresh(instagram.token, None)
    assert caught.value.retry_after is not None

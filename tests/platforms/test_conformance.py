"""What every platform client must do, run against all three over the real sandbox."""

import asyncio
import logging
from datetime import timedelta

import pytest
from pydantic import SecretStr

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import (
    AuthExpiredError,
    NotSentError,
    PlatformError,
    RevokedError,
    ThrottledError,
    TransientError,
    UnknownOutcomeError,
)
from minitik_dagster.platforms.port import Finding, Handle, Receipt, Standing
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.settings import Settings
from tests.platforms.conftest import LARGE_BYTES, Stage, make_stage
from tests.platforms.doubles import MemoryDesk, OpenGate, ShutGate

pytestmark = pytest.mark.anyio

_POLLS = 200
_FIRST_OPERATION = {
    Platform.TIKTOK: "init",
    Platform.INSTAGRAM: "container",
    Platform.YOUTUBE: "session",
}
_STATUS_OPERATION = {
    Platform.TIKTOK: "status",
    Platform.INSTAGRAM: "container_status",
    Platform.YOUTUBE: "list",
}


async def _prepared(stage: Stage) -> Handle:
    handle = await stage.client.prepare(stage.post, stage.media, None, stage.desk)
    assert handle.ready
    return await stage.client.warm(stage.post, handle, stage.desk)


async def _commit(stage: Stage, handle: Handle) -> Receipt:
    return await stage.client.commit(stage.post, stage.media, handle, stage.token, OpenGate())


async def _until_final(stage: Stage, handle: Handle) -> Finding:
    """Ask `confirm` until it has nothing more to tell, a bounded number of times."""
    finding = Finding(Standing.CANNOT_TELL)
    for _ in range(_POLLS):
        try:
            finding = await stage.client.confirm(stage.post, handle, stage.desk)
        except ThrottledError as error:
            # TikTok allows 30 reads a minute: wait on the sandbox's own clock.
            wait = error.retry_after or timedelta(0)
            stage.sandbox.call("POST", "/_sandbox/time", {"advanceSeconds": wait.total_seconds()})
        if finding.standing is not Standing.ACCEPTED and finding.final:
            return finding
        await asyncio.sleep(0.1)
    raise AssertionError(f"still {finding}")


def _the_one_post(stage: Stage) -> dict[str, object]:
    public = stage.public()
    assert len(public) == 1
    return public[0]


@pytest.mark.parametrize("size", [400_000, LARGE_BYTES], ids=["small", "11MB"])
async def test_a_post_is_public_only_after_its_commit_and_with_its_own_bytes(
    stage: Stage, size: int
) -> None:
    """Prepare has no public effect; commit makes one post of exactly these bytes."""
    stage = stage.with_file(size)
    handle = await _prepared(stage)
    assert stage.public() == []
    receipt = await _commit(stage, handle)
    finding = await _until_final(stage, handle)
    assert finding.standing is Standing.LIVE
    post = _the_one_post(stage)
    assert (post["sha256"], post["bytes"]) == (stage.media.sha256, size)
    assert post["caption"] in {stage.post.caption, stage.post.title}
    assert finding.post_ids == (post["id"],)
    assert receipt.post_ids in {(), finding.post_ids}
    assert finding.permalink is not None
    assert finding.permalink.startswith("https://www.")


async def test_a_commit_is_one_request_and_passes_the_gate_once(stage: Stage) -> None:
    """One call = one request seen by the platform."""
    handle, gate = await _prepared(stage), OpenGate()
    await stage.client.commit(stage.post, stage.media, handle, stage.token, gate)
    assert gate.passed == 1
    assert len(stage.calls(stage.commit_operation)) == 1


async def test_a_shut_gate_sends_nothing_and_the_handle_still_works(stage: Stage) -> None:
    """R4: past the send deadline the commit is `not_sent`; a later one on the handle succeeds."""
    handle = await _prepared(stage)
    with pytest.raises(NotSentError) as caught:
        await stage.client.commit(stage.post, stage.media, handle, stage.token, ShutGate())
    assert caught.value.code == "deadline"
    assert stage.calls(stage.commit_operation) == []
    found = await stage.client.find(stage.post, handle, stage.desk)
    assert found.standing is Standing.NOT_PUBLISHED
    await _commit(stage, handle)
    assert (await _until_final(stage, handle)).standing is Standing.LIVE
    _the_one_post(stage)


async def test_a_commit_cut_before_it_was_read_is_unknown_then_found_unpublished(
    stage: Stage,
) -> None:
    """The same handle is committed again and makes exactly one post."""
    handle = await _prepared(stage)
    stage.fault(stage.commit_operation, "drop-before")
    with pytest.raises(UnknownOutcomeError):
        await _commit(stage, handle)
    assert len(stage.calls(stage.commit_operation)) == 1
    found = await stage.client.find(stage.post, handle, stage.desk)
    assert found.standing is Standing.NOT_PUBLISHED
    await _commit(stage, handle)
    assert (await _until_final(stage, handle)).standing is Standing.LIVE
    _the_one_post(stage)


@pytest.mark.parametrize("kind", ["drop-after", "error-after"])
async def test_a_commit_whose_answer_was_lost_is_unknown_then_found(
    stage: Stage, kind: str
) -> None:
    """Accepted, but we do not know: find says so, and nothing is sent again."""
    handle = await _prepared(stage)
    stage.fault(stage.commit_operation, kind)
    with pytest.raises(UnknownOutcomeError) as caught:
        await _commit(stage, handle)
    assert caught.value.unhealthy is (kind == "error-after")
    found = await stage.client.find(stage.post, handle, stage.desk)
    assert found.standing in {Standing.LIVE, Standing.ACCEPTED}
    final = await _until_final(stage, handle)
    assert final.post_ids == (_the_one_post(stage)["id"],)
    assert len(stage.calls(stage.commit_operation)) == 1


@pytest.mark.parametrize("kind", ["drop-after", "error-after"])
async def test_a_repeated_commit_on_the_same_handle_makes_no_second_post(
    stage: Stage, kind: str
) -> None:
    """R2: each platform makes at most one post from one handle."""
    handle = await _prepared(stage)
    stage.fault(stage.commit_operation, kind)
    with pytest.raises(UnknownOutcomeError):
        await _commit(stage, handle)
    receipt = await _commit(stage, handle)
    assert receipt.code
    assert (await _until_final(stage, handle)).standing is Standing.LIVE
    _the_one_post(stage)


async def test_a_5xx_on_the_commit_is_unknown_and_unhealthy(stage: Stage) -> None:
    """A 5xx is no documented refusal: ask first. It counts for the breaker."""
    handle = await _prepared(stage)
    stage.fault(stage.commit_operation, "status", status=503)
    with pytest.raises(UnknownOutcomeError) as caught:
        await _commit(stage, handle)
    assert caught.value.unhealthy


async def test_a_lost_answer_while_preparing_may_be_repeated(stage: Stage) -> None:
    """R1: a step that cannot publish is transient when its answer is lost."""
    stage.fault(_FIRST_OPERATION[stage.platform], "drop-after")
    with pytest.raises(TransientError):
        await stage.client.prepare(stage.post, stage.media, None, stage.desk)
    assert stage.desk.handles == []
    handle = await _prepared(stage)
    await _commit(stage, handle)
    assert (await _until_final(stage, handle)).standing is Standing.LIVE
    _the_one_post(stage)


async def test_a_5xx_while_preparing_is_transient_and_unhealthy(stage: Stage) -> None:
    """5xx is transient only on a step that cannot publish, and counts for the breaker."""
    stage.fault(_FIRST_OPERATION[stage.platform], "status", status=503)
    with pytest.raises(TransientError) as caught:
        await stage.client.prepare(stage.post, stage.media, None, stage.desk)
    assert caught.value.unhealthy


async def test_an_expired_token_is_a_refusal_that_a_refresh_may_cure(
    clients: PlatformClients, stage: Stage
) -> None:
    """AuthExpired while preparing; nothing is stored."""
    short = make_stage(
        clients,
        stage.sandbox,
        stage.platform,
        stage.folder,
        stage.media._base_url,
        expiresIn=1,
    )
    stage.sandbox.call("POST", "/_sandbox/time", {"advanceSeconds": 2})
    with pytest.raises(AuthExpiredError):
        await short.client.prepare(short.post, short.media, None, short.desk)
    assert short.desk.handles == []


async def test_an_unknown_token_on_the_commit_is_a_documented_refusal(stage: Stage) -> None:
    """R8: 401 on a commit leaves the handle as it was; TikTok's last chunk carries no token."""
    handle = await _prepared(stage)
    bad = SecretStr("not-a-token")
    if stage.platform is Platform.TIKTOK:
        await stage.client.commit(stage.post, stage.media, handle, bad, OpenGate())
    else:
        with pytest.raises(AuthExpiredError):
            await stage.client.commit(stage.post, stage.media, handle, bad, OpenGate())
        assert stage.public() == []
        await _commit(stage, handle)
    assert (await _until_final(stage, handle)).standing is Standing.LIVE


async def test_throttling_names_when_to_ask_again(stage: Stage) -> None:
    """Throttled carries retry_after or until, and is not the platform's ill health."""
    stage.fault(_FIRST_OPERATION[stage.platform], "throttle")
    with pytest.raises(ThrottledError) as caught:
        await stage.client.prepare(stage.post, stage.media, None, stage.desk)
    assert caught.value.retry_after or caught.value.until
    assert not caught.value.unhealthy


async def test_a_withdrawn_grant_cannot_be_refreshed(stage: Stage) -> None:
    """Revoked: only the person can restore it."""
    handle = await stage.client.prepare(stage.post, stage.media, None, stage.desk)
    # By the person, whatever becomes of our next call.
    stage.sandbox.call("POST", "/_sandbox/revoke", {
        "platform": stage.platform.value.lower(), "account": stage.post.platform_account_id,
    })  # fmt: skip
    with pytest.raises(PlatformError):
        await stage.client.confirm(stage.post, handle, stage.desk)
    refresh = stage.account["refreshToken"]
    with pytest.raises(RevokedError):
        await stage.client.refresh(stage.token, SecretStr(refresh) if refresh else None)


async def test_an_upload_that_was_cut_goes_on_with_the_same_handle(stage: Stage) -> None:
    """After a crash mid-way, the stored handle is enough; no second one is made."""
    stage = stage.with_file(LARGE_BYTES)
    operation = {
        Platform.TIKTOK: "chunk",
        Platform.INSTAGRAM: "container_status",
        Platform.YOUTUBE: "upload",
    }[stage.platform]
    stage.fault(operation, "drop-after")
    with pytest.raises(TransientError):
        await stage.client.prepare(stage.post, stage.media, None, stage.desk)
    stored = stage.desk.handle
    assert not stored.ready
    handle = await stage.client.prepare(stage.post, stage.media, stored, stage.desk)
    assert len(stage.calls(_FIRST_OPERATION[stage.platform])) == 1
    handle = await stage.client.warm(stage.post, handle, stage.desk)
    await _commit(stage, handle)
    assert (await _until_final(stage, handle)).standing is Standing.LIVE
    assert _the_one_post(stage)["sha256"] == stage.media.sha256


async def test_a_prepared_handle_is_taken_over_without_a_call_that_changes_anything(
    stage: Stage,
) -> None:
    """Take-over reuses handles: preparing a ready one only holds the bytes again."""
    stage = stage.with_file(LARGE_BYTES)
    handle = await stage.client.prepare(stage.post, stage.media, None, stage.desk)
    before = len(stage.calls())
    stage.media.held.clear()
    again = await stage.client.prepare(stage.post, stage.media, handle, stage.desk)
    assert again == handle
    assert len(stage.calls()) == before
    assert bool(stage.media.held) is (stage.platform is Platform.TIKTOK)


async def test_a_stale_status_right_after_the_commit_is_not_taken_for_final(
    stage: Stage,
) -> None:
    """A lagging read leaves the post accepted, to be asked again."""
    handle = await _prepared(stage)
    await _commit(stage, handle)
    stage.fault(_STATUS_OPERATION[stage.platform], "stale-read", delayMs=60_000)
    finding = await stage.client.confirm(stage.post, handle, stage.desk)
    assert (finding.standing, finding.final) == (Standing.ACCEPTED, False)
    assert (await _until_final(stage, handle)).standing is Standing.LIVE


async def test_deleting_does_it_or_says_where_a_person_can(stage: Stage) -> None:
    """YouTube deletes; the others answer with the post's link."""
    handle = await _prepared(stage)
    await _commit(stage, handle)
    (post_id,) = (await _until_final(stage, handle)).post_ids
    removal = await stage.client.delete(stage.post, handle, post_id, stage.desk)
    if stage.platform is Platform.YOUTUBE:
        assert removal.done
        assert stage.public() == []
        again = await stage.client.delete(stage.post, handle, post_id, stage.desk)
        assert again.done
    else:
        assert not removal.done
        assert "https://www." in removal.instruction
        assert len(stage.public()) == 1


async def test_what_was_prepared_can_be_given_up(stage: Stage) -> None:
    """Nothing becomes public of a handle that is never committed."""
    handle = await stage.client.prepare(stage.post, stage.media, None, stage.desk)
    removal = await stage.client.delete(stage.post, handle, None, stage.desk)
    assert removal.done
    assert stage.public() == []


async def test_metrics_are_read_in_batches_and_missing_posts_left_out(stage: Stage) -> None:
    """Counters of a live post; ids that do not exist do not disturb the others."""
    handle = await _prepared(stage)
    await _commit(stage, handle)
    (post_id,) = (await _until_final(stage, handle)).post_ids
    unknown = [f"7{number:018d}" for number in range(60)]
    found = await stage.client.metrics([*unknown, post_id], stage.token)
    assert [one.post_id for one in found] == [post_id]
    assert found[0].views is not None
    assert (found[0].reach is None) is (stage.platform is not Platform.INSTAGRAM)
    batch = {Platform.TIKTOK: 20, Platform.INSTAGRAM: 1, Platform.YOUTUBE: 50}[stage.platform]
    operation = "insights" if stage.platform is Platform.INSTAGRAM else "list"
    asked = [
        call
        for call in stage.calls(operation)
        if stage.platform is not Platform.TIKTOK or call["path"].endswith("/query/")
    ]
    assert len(asked) >= -(-61 // batch)


async def test_identity_is_what_publishing_needs(stage: Stage) -> None:
    """The id that goes into paths and rows, not an app-scoped one."""
    identity = await stage.client.identify(stage.token)
    assert identity.platform_account_id == stage.account["platformAccountId"]
    assert identity.username == stage.account["username"]


async def test_refreshed_tokens_work_and_lifetimes_are_the_answers_own(stage: Stage) -> None:
    """TikTok rotates, YouTube keeps the old refresh token, Instagram's token renews itself."""
    if stage.platform is Platform.INSTAGRAM:
        stage.sandbox.set_limits(instagram={"refreshMinAgeSeconds": 0})
    refresh = stage.account["refreshToken"]
    given = SecretStr(refresh) if refresh else None
    tokens = await stage.client.refresh(stage.token, given)
    assert tokens.expires_in is not None
    identity = await stage.client.identify(tokens.access_token)
    assert identity.platform_account_id == stage.post.platform_account_id
    if stage.platform is Platform.TIKTOK:
        assert tokens.refresh_token not in {None, given}
        with pytest.raises(RevokedError) as caught:
            await stage.client.refresh(stage.token, given)
        assert caught.value.expired
    elif stage.platform is Platform.YOUTUBE:
        assert tokens.refresh_token == given
    else:
        assert tokens.refresh_token is None


async def test_no_secret_stands_in_a_log_an_error_or_a_ledger_row(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Tokens, upload URLs and session URIs appear nowhere, whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    handle = await stage.client.prepare(stage.post, stage.media, None, stage.desk)
    planted = [stage.desk.access_token, stage.account["refreshToken"] or "no-refresh-token"]
    planted += [secret.get_secret_value() for secret in handle.secret.values()]
    planted += [url.partition("?")[2] for url in planted if "?" in url]
    errors: list[BaseException] = []
    for operation, kind in [
        (stage.commit_operation, "drop-before"),
        (stage.commit_operation, "error-after"),
        (_STATUS_OPERATION[stage.platform], "drop-before"),
        (_STATUS_OPERATION[stage.platform], "status"),
    ]:
        stage.fault(operation, kind)
        try:
            if operation == stage.commit_operation:
                await _commit(stage, handle)
            else:
                await stage.client.find(stage.post, handle, stage.desk)
        except PlatformError as error:
            errors.append(error)
    assert len(errors) == 4
    texts = [caplog.text, repr(handle), repr(stage.desk.steps)]
    for raised in errors:
        assert raised.__cause__ is None
        assert raised.__context__ is None
        texts.append(f"{raised!r} {raised} {vars(raised)}")
    for text in texts:
        for secret in planted:
            assert secret not in text


async def test_an_unreachable_platform_is_transient_even_on_the_commit(
    stage: Stage, unused_base_url: str
) -> None:
    """A connect error sent nothing: it is never taken for an unknown outcome."""
    handle = await _prepared(stage)
    moved = Handle(
        id=handle.id,
        revision=1,
        external_id=handle.external_id,
        secret={name: SecretStr(unused_base_url + "/x?y=z") for name in handle.secret},
        progress=handle.progress,
        ready=True,
    )
    values = {
        name.lower(): unused_base_url + "/x" if name.endswith("_BASE_URL") else value
        for name, value in stage.sandbox.environment.items()
    }
    async with PlatformClients(Settings.model_validate(values)) as clients:
        client = clients.client(stage.platform)
        with pytest.raises(TransientError) as caught:
            await client.commit(stage.post, stage.media, moved, stage.token, OpenGate())
        assert caught.value.unhealthy
        assert caught.value.code == "connect_error"
        with pytest.raises(TransientError):
            await client.prepare(stage.post, stage.media, None, MemoryDesk("t"))


async def test_a_live_post_is_seen_and_a_removed_one_is_missed(stage: Stage) -> None:
    """`look`: LIVE while the platform shows it, REMOVED when its creator took it away."""
    handle = await _prepared(stage)
    await _commit(stage, handle)
    await _until_final(stage, handle)
    post_id = str(_the_one_post(stage)["id"])
    seen = await stage.client.look(stage.post, post_id, stage.desk)
    assert (seen.standing, seen.post_ids) == (Standing.LIVE, (post_id,))
    stage.sandbox.remove_post(stage.platform.value.lower(), post_id)
    gone = await stage.client.look(stage.post, post_id, stage.desk)
    assert (gone.standing, gone.post_ids) == (Standing.REMOVED, ())

"""Each kind of fault, as a raw peer sees it: cut connections have no status line."""

import socket
import time
from urllib.parse import urlsplit

import httpx2
import pytest

from .apps import VIDEO, InstagramApp, TikTokApp, YouTubeApp
from .conftest import MediaServer, SandboxProcess, sha256, wait_until


def raw_exchange(sandbox: SandboxProcess, request: bytes) -> bytes:
    """Send bytes and return all that comes back until the peer closes."""
    parts = urlsplit(sandbox.base)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as peer:
        peer.sendall(request)
        received = b""
        try:
            while piece := peer.recv(65_536):
                received += piece
        except ConnectionResetError:
            pass
        return received


def put_request(sandbox: SandboxProcess, url: str, body: bytes) -> bytes:
    parts = urlsplit(url)
    head = (
        f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Type: video/mp4\r\nContent-Length: {len(body)}\r\n"
        f"Content-Range: bytes 0-{len(body) - 1}/{len(body)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.fixture
def tiktok(sandbox: SandboxProcess) -> TikTokApp:
    return TikTokApp(sandbox, sandbox.account("tiktok"))


@pytest.fixture
def youtube(sandbox: SandboxProcess) -> YouTubeApp:
    return YouTubeApp(sandbox, sandbox.account("youtube"))


@pytest.fixture
def instagram(sandbox: SandboxProcess) -> InstagramApp:
    return InstagramApp(sandbox, sandbox.account("instagram"))


def finished(app: InstagramApp, media: MediaServer) -> str:
    container = str(app.create(video_url=media.put("/f.mp4", VIDEO)).json()["id"])
    wait_until(lambda: app.state(container) == "FINISHED", "a FINISHED container")
    return container


def test_drop_before_closes_the_connection_and_does_nothing(
    sandbox: SandboxProcess, tiktok: TikTokApp
) -> None:
    """The peer sees end of file without a byte of an answer; the post was not made."""
    publish_id, url = tiktok.opened()
    sandbox.fault("tiktok", "last_chunk", "drop-before")
    assert raw_exchange(sandbox, put_request(sandbox, url, VIDEO)) == b""
    assert sandbox.posts_of(tiktok.account) == []
    assert tiktok.status(publish_id)["uploaded_bytes"] == 0
    assert tiktok.put(url).status_code == 201


def test_drop_after_acts_and_closes_the_connection_without_an_answer(
    sandbox: SandboxProcess, tiktok: TikTokApp
) -> None:
    """The post is public though its sender never heard so; a repeat cannot make a second one."""
    publish_id, url = tiktok.opened()
    sandbox.fault("tiktok", "last_chunk", "drop-after")
    assert raw_exchange(sandbox, put_request(sandbox, url, VIDEO)) == b""
    assert len(sandbox.posts_of(tiktok.account)) == 1
    assert tiktok.status(publish_id)["uploaded_bytes"] == len(VIDEO)
    assert tiktok.put(url).status_code == 416
    assert len(sandbox.posts_of(tiktok.account)) == 1


def test_a_cut_call_stands_in_the_call_list_without_a_status(
    sandbox: SandboxProcess, youtube: YouTubeApp
) -> None:
    """The list names the fault, and carries no session URI."""
    uri = youtube.session()
    sandbox.fault("youtube", "upload", "drop-after")
    with pytest.raises(httpx2.RemoteProtocolError):
        youtube.put(uri)
    [call] = sandbox.calls(youtube.account, "upload")
    assert (call["status"], call["fault"], call["method"]) == (None, "drop-after", "PUT")
    assert "upload_id" not in call["path"]
    assert youtube.ask(uri, len(VIDEO)).status_code == 201


def test_error_after_acts_and_answers_an_error(
    sandbox: SandboxProcess, instagram: InstagramApp, media: MediaServer
) -> None:
    """media_publish may return an error although the post went live."""
    container = finished(instagram, media)
    sandbox.fault("instagram", "media_publish", "error-after", status=500, code="-1/2207001")
    answer = instagram.publish(container)
    assert answer.status_code == 500
    assert answer.json()["error"]["error_subcode"] == 2207001
    assert instagram.state(container) == "PUBLISHED"
    assert len(sandbox.posts_of(instagram.account)) == 1


def test_a_refused_call_keeps_its_own_refusal_under_error_after(
    sandbox: SandboxProcess, instagram: InstagramApp, media: MediaServer
) -> None:
    """error-after lies about what was accepted, not about what was refused."""
    sandbox.fault("instagram", "media_publish", "error-after", status=500)
    assert instagram.publish("17880000000000000").json()["error"]["code"] == 24


def test_late_effect_cuts_now_and_acts_later(sandbox: SandboxProcess, youtube: YouTubeApp) -> None:
    """The dangerous one: not published when asked, published a moment after."""
    video = youtube.uploaded()
    sandbox.fault("youtube", "update", "late-effect", delayMs=600)
    started = time.monotonic()
    with pytest.raises(httpx2.RemoteProtocolError):
        youtube.update(video, privacyStatus="public")
    assert time.monotonic() - started < 0.5
    assert youtube.one(video)["status"]["privacyStatus"] == "private"
    wait_until(lambda: len(sandbox.posts_of(youtube.account)) == 1, "the late effect")
    assert time.monotonic() - started >= 0.6


def test_stale_read_tells_what_was_true_before(
    sandbox: SandboxProcess, youtube: YouTubeApp, tiktok: TikTokApp
) -> None:
    """Status reads lag behind the truth by delayMs, once per count."""
    video = youtube.uploaded()
    sandbox.advance(60)
    youtube.update(video, privacyStatus="public")
    sandbox.fault("youtube", "list", "stale-read", delayMs=30_000)
    assert youtube.one(video)["status"]["privacyStatus"] == "private"
    assert youtube.one(video)["status"]["privacyStatus"] == "public"
    publish_id, url = tiktok.opened()
    tiktok.put(url)
    sandbox.fault("tiktok", "status", "stale-read", delayMs=30_000)
    assert tiktok.status(publish_id) == {"status": "PROCESSING_UPLOAD", "uploaded_bytes": 0}
    assert tiktok.status(publish_id)["status"] == "PUBLISH_COMPLETE"


def test_a_stale_container_and_media_list_hide_a_fresh_post(
    sandbox: SandboxProcess, instagram: InstagramApp, media: MediaServer
) -> None:
    """A published container may still read FINISHED, and the list lack its reel."""
    container = finished(instagram, media)
    sandbox.advance(60)
    instagram.publish(container)
    sandbox.fault("instagram", "container_status", "stale-read", delayMs=30_000)
    sandbox.fault("instagram", "list", "stale-read", delayMs=30_000)
    assert instagram.state(container) == "FINISHED"
    assert instagram.get(f"{instagram.account.id}/media").json()["data"] == []
    assert instagram.state(container) == "PUBLISHED"
    assert len(instagram.get(f"{instagram.account.id}/media").json()["data"]) == 1


def test_status_answers_in_the_platforms_own_envelope(
    sandbox: SandboxProcess, tiktok: TikTokApp, youtube: YouTubeApp, instagram: InstagramApp
) -> None:
    """An injected status carries the platform's code, and nothing was done."""
    sandbox.fault("tiktok", "init", "status", status=500, code="internal_error")
    refused = tiktok.init()
    assert (refused.status_code, refused.json()["error"]["code"]) == (500, "internal_error")
    assert refused.json()["error"]["log_id"]
    sandbox.fault("youtube", "session", "status", status=503)
    reason = youtube.start().json()["error"]["errors"][0]["reason"]
    assert reason == "backendError"
    sandbox.fault("instagram", "container", "status", status=400, code="4/2207051")
    error = instagram.create(video_url="http://127.0.0.1:1/x").json()["error"]
    assert (error["code"], error["error_subcode"]) == (4, 2207051)
    assert error["fbtrace_id"]


def test_throttle_answers_as_each_platform_throttles(
    sandbox: SandboxProcess, tiktok: TikTokApp, youtube: YouTubeApp, instagram: InstagramApp
) -> None:
    """TikTok 429, YouTube 429 or quotaExceeded, Instagram code 4."""
    for platform, operation in (("tiktok", "init"), ("instagram", "list"), ("youtube", "list")):
        sandbox.fault(platform, operation, "throttle")
    assert tiktok.init().status_code == 429
    assert instagram.get("me/media").json()["error"]["code"] == 4
    assert youtube.videos("GET", {"part": "id", "id": "x"}).status_code == 429
    sandbox.fault("youtube", "session", "throttle", code="quotaExceeded")
    refused = youtube.start()
    assert refused.status_code == 403
    assert refused.json()["error"]["errors"][0] == {
        "message": "Rate limit exceeded.", "domain": "youtube.quota", "reason": "quotaExceeded",
    }  # fmt: skip


def test_revoke_withdraws_the_accounts_grant(
    sandbox: SandboxProcess, tiktok: TikTokApp, instagram: InstagramApp
) -> None:
    """Every token of the account stops working, the refresh token too; others are untouched."""
    other = TikTokApp(sandbox, sandbox.account("tiktok"))
    sandbox.fault("tiktok", "creator_info", "revoke", account=tiktok.account.id)
    assert other.post("post/publish/creator_info/query/").status_code == 200
    assert tiktok.post("post/publish/creator_info/query/").status_code == 401
    assert other.post("post/publish/creator_info/query/").status_code == 200
    form = {"client_key": "k", "client_secret": "s", "grant_type": "refresh_token",
            "refresh_token": tiktok.account.refresh}  # fmt: skip
    answer = sandbox.http.post(tiktok.root + "oauth/token/", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    sandbox.fault("instagram", "profile", "revoke")
    error = instagram.get("me").json()["error"]
    assert (error["code"], error["error_subcode"]) == (190, 458)


def test_delay_answers_late_what_was_done_at_once(
    sandbox: SandboxProcess, tiktok: TikTokApp
) -> None:
    """The post's instant is the request's, not the answer's."""
    _, url = tiktok.opened()
    sandbox.fault("tiktok", "last_chunk", "delay", delayMs=400)
    started = time.monotonic()
    assert tiktok.put(url).status_code == 201
    assert time.monotonic() - started >= 0.4
    [post] = sandbox.posts_of(tiktok.account)
    [call] = sandbox.calls(tiktok.account, "last_chunk")
    assert post["publishedAt"] - call["at"] < 300


def test_delay_before_neither_reads_nor_acts_until_it_is_over(
    sandbox: SandboxProcess, tiktok: TikTokApp
) -> None:
    """A call that is on its way: seen, not done; done when the delay is over."""
    _, url = tiktok.opened()
    sandbox.fault("tiktok", "last_chunk", "delay-before", delayMs=400)
    started = time.monotonic()
    assert tiktok.put(url).status_code == 201
    assert time.monotonic() - started >= 0.4
    [post] = sandbox.posts_of(tiktok.account)
    [call] = sandbox.calls(tiktok.account, "last_chunk")
    assert post["publishedAt"] - call["at"] >= 400


def test_a_peer_that_hangs_up_during_delay_before_has_done_nothing(
    sandbox: SandboxProcess, tiktok: TikTokApp
) -> None:
    """A sender that died while its call was on its way: nothing is public, the handle is good."""
    _, url = tiktok.opened()
    sandbox.fault("tiktok", "last_chunk", "delay-before", delayMs=300)
    parts = urlsplit(sandbox.base)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as peer:
        peer.sendall(put_request(sandbox, url, VIDEO)[:-1])
        wait_until(lambda: bool(sandbox.calls(tiktok.account, "last_chunk")), "the call's arrival")
    called = sandbox.calls(tiktok.account, "last_chunk")[0]["at"]
    wait_until(
        lambda: sandbox.control("GET", "/time")["now"] > called + 400, "the end of the delay"
    )
    assert sandbox.posts_of(tiktok.account) == []
    assert tiktok.put(url).status_code == 201


def test_slow_processing_lets_one_post_take_longer(
    sandbox: SandboxProcess, tiktok: TikTokApp, youtube: YouTubeApp, instagram: InstagramApp,
    media: MediaServer,
) -> None:  # fmt: skip
    """Accepted, and PROCESSING for delayMs; the next one is quick again."""
    for platform, operation in (
        ("tiktok", "last_chunk"), ("youtube", "upload"), ("instagram", "container"),
    ):  # fmt: skip
        sandbox.fault(platform, operation, "slow-processing", delayMs=3_000_000)
    publish_id, url = tiktok.opened()
    assert tiktok.put(url).status_code == 201
    assert tiktok.status(publish_id) == {
        "status": "PROCESSING_UPLOAD", "uploaded_bytes": len(VIDEO),
    }  # fmt: skip
    video = youtube.uploaded()
    details = youtube.one(video, "status,processingDetails")
    assert details["status"]["uploadStatus"] == "uploaded"
    assert details["processingDetails"] == {"processingStatus": "processing"}
    container = instagram.create(video_url=media.put("/s.mp4", VIDEO)).json()["id"]
    assert instagram.state(container) == "IN_PROGRESS"
    quick = finished(instagram, media)
    assert instagram.state(container) == "IN_PROGRESS"
    sandbox.advance(3_000)
    assert instagram.state(container) == "FINISHED"
    assert quick != container
    assert tiktok.status(publish_id)["status"] == "PUBLISH_COMPLETE"
    assert youtube.one(video)["status"]["uploadStatus"] == "processed"


def test_fail_processing_fails_what_was_accepted(
    sandbox: SandboxProcess, tiktok: TikTokApp, youtube: YouTubeApp, instagram: InstagramApp,
    media: MediaServer,
) -> None:  # fmt: skip
    """fail_reason, failureReason or rejectionReason, and a container's ERROR; nothing is public."""
    sandbox.fault("tiktok", "last_chunk", "fail-processing", code="duration_check_failed")
    sandbox.fault("youtube", "upload", "fail-processing", code="duplicate")
    sandbox.fault("instagram", "container", "fail-processing", code="352/2207026")
    publish_id, url = tiktok.opened()
    assert tiktok.put(url).status_code == 201
    assert tiktok.status(publish_id)["fail_reason"] == "duration_check_failed"
    assert sandbox.posts_of(tiktok.account) == []
    video = youtube.uploaded()
    youtube.update(video, privacyStatus="public")
    assert sandbox.posts_of(youtube.account) == []
    status = youtube.one(video)["status"]
    assert (status["uploadStatus"], status["rejectionReason"]) == ("rejected", "duplicate")
    container = instagram.create(video_url=media.put("/e.mp4", VIDEO)).json()["id"]
    wait_until(lambda: instagram.state(container) == "ERROR", "the container's ERROR")
    text = instagram.get(container, fields="status").json()["status"]
    assert "2207026" in text
    assert instagram.publish(container).json()["error"]["code"] == 9007


def test_a_fault_meets_only_its_account_its_count_and_its_turn(sandbox: SandboxProcess) -> None:
    """`count` is how often, `skip` how many good calls come first, account whose calls."""
    one = TikTokApp(sandbox, sandbox.account("tiktok"))
    two = TikTokApp(sandbox, sandbox.account("tiktok"))
    sandbox.fault("tiktok", "init", "status", status=500, count=2, skip=1, account=one.account.id)
    assert [two.init().status_code for _ in range(2)] == [200, 200]
    assert [one.init().status_code for _ in range(4)] == [200, 500, 500, 200]
    assert sandbox.control("GET", "/faults")["faults"] == []


def test_the_first_chunk_and_the_last_chunk_are_two_operations(
    sandbox: SandboxProcess, tiktok: TikTokApp
) -> None:
    """A fault for `chunk` never meets the chunk that publishes."""
    size = 11_000_000
    body = bytes(1000) * 11_000
    _, url = tiktok.opened(size=size, chunk=5_500_000, count=2)
    sandbox.fault("tiktok", "chunk", "status", status=500)
    assert tiktok.put(url, body[:5_500_000], 0, size).status_code == 500
    assert tiktok.put(url, body[:5_500_000], 0, size).status_code == 206
    sandbox.fault("tiktok", "chunk", "status", status=500)
    assert tiktok.put(url, body[5_500_000:], 5_500_000, size).status_code == 201
    [post] = sandbox.posts_of(tiktok.account)
    assert post["sha256"] == sha256(body)

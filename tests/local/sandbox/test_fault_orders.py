"""What a fault may be told to meet: only what exists, and every operation that exists."""

from collections.abc import Callable

import httpx2
import pytest

from .apps import VIDEO, InstagramApp, TikTokApp, YouTubeApp
from .conftest import MediaServer, SandboxProcess, wait_until


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"platform": "myspace", "operation": "init", "kind": "status"}, "platform"),
        ({"platform": "tiktok", "operation": "explode", "kind": "status"}, "operation"),
        ({"platform": "tiktok", "operation": "media_publish", "kind": "status"}, "operation"),
        ({"platform": "tiktok", "operation": "init", "kind": "sulk"}, "kind"),
        ({"platform": "tiktok", "operation": "init", "kind": "delay"}, "delayMs"),
        ({"platform": "tiktok", "operation": "init", "kind": "status", "count": 0}, "count"),
        ({"platform": "tiktok", "operation": "init", "kind": "status", "colour": 1}, "colour"),
        ({"platform": "tiktok", "operation": "init", "kind": "fail-processing"}, "code"),
    ],
)
def test_a_badly_described_fault_is_refused_by_name(
    sandbox: SandboxProcess, body: dict[str, object], field: str
) -> None:
    """A typing error must not make a chaos test pass by doing nothing."""
    answer = sandbox.http.post(sandbox.base + "/_sandbox/faults", json=body)
    assert answer.status_code == 400
    assert field in answer.json()["error"]
    assert sandbox.control("GET", "/faults")["faults"] == []


def test_every_operation_that_takes_faults_is_one_that_can_be_called(
    sandbox: SandboxProcess,
    media: MediaServer,
) -> None:
    """The contract's operations each meet their fault on their platform."""
    tiktok = TikTokApp(sandbox, sandbox.account("tiktok"))
    youtube = YouTubeApp(sandbox, sandbox.account("youtube"))
    instagram = InstagramApp(sandbox, sandbox.account("instagram"))
    container = str(instagram.create(video_url=media.put("/o.mp4", VIDEO)).json()["id"])
    wait_until(lambda: instagram.state(container) == "FINISHED", "a FINISHED container")
    reel = instagram.publish(container).json()["id"]
    uri, video = youtube.session(), youtube.uploaded()
    _, url = tiktok.opened()
    calls: dict[tuple[str, str], Callable[[], httpx2.Response]] = {
        ("tiktok", "creator_info"): lambda: tiktok.post("post/publish/creator_info/query/"),
        ("tiktok", "init"): tiktok.init,
        ("tiktok", "last_chunk"): lambda: tiktok.put(url),
        ("tiktok", "status"): lambda: tiktok.post("post/publish/status/fetch/", {}),
        ("tiktok", "list"): lambda: tiktok.post("video/list/?fields=id", {}),
        ("tiktok", "token"): lambda: tiktok.post("oauth/token/"),
        ("instagram", "container"): lambda: instagram.create(video_url="x"),
        ("instagram", "container_status"): lambda: instagram.get(container),
        ("instagram", "media_publish"): lambda: instagram.publish(container),
        ("instagram", "list"): lambda: instagram.get("me/media"),
        ("instagram", "delete"): lambda: sandbox.http.delete(instagram.root + reel),
        ("instagram", "token"): lambda: instagram.get("refresh_access_token"),
        ("youtube", "session"): youtube.start,
        ("youtube", "upload"): lambda: youtube.put(uri),
        ("youtube", "status"): lambda: youtube.ask(uri, len(VIDEO)),
        ("youtube", "list"): lambda: youtube.videos("GET", {"id": video}),
        ("youtube", "update"): lambda: youtube.update(video, privacyStatus="private"),
        ("youtube", "delete"): lambda: youtube.videos("DELETE", {"id": video}),
        ("youtube", "token"): lambda: sandbox.http.post(
            sandbox.env["GOOGLE_OAUTH_BASE_URL"] + "/token", data={"client_id": "c"}
        ),
    }
    for (platform, operation), call in calls.items():
        sandbox.fault(platform, operation, "status", status=599)
        assert call().status_code == 599, (platform, operation)
    assert sandbox.control("GET", "/faults")["faults"] == []

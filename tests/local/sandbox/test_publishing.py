"""A post's way to the public on each platform, told by a real sandbox process."""

from .apps import VIDEO, InstagramApp, TikTokApp, YouTubeApp
from .conftest import MediaServer, SandboxProcess, sha256, wait_until


def test_a_tiktok_post_is_public_when_its_last_byte_has_come(sandbox: SandboxProcess) -> None:
    """The PUT of the last chunk is the commit; the public id comes by status/fetch."""
    app = TikTokApp(sandbox, sandbox.account("tiktok"))
    publish_id, url = app.opened(title="Gruyères <b>")
    assert len(publish_id) <= 64
    assert len(url) <= 256
    assert sandbox.posts_of(app.account) == []
    assert app.put(url).status_code == 201
    [post] = sandbox.posts_of(app.account)
    assert post["caption"] == "Gruyères <b>"
    assert (post["bytes"], post["sha256"]) == (len(VIDEO), sha256(VIDEO))
    assert app.status(publish_id)["status"] == "PUBLISH_COMPLETE"
    assert app.status(publish_id)["publicaly_available_post_id"] == [int(post["id"])]


def test_an_instagram_reel_is_fetched_by_the_platform_and_public_after_media_publish(
    sandbox: SandboxProcess, media: MediaServer
) -> None:
    """The sandbox downloads video_url itself; publishing takes a FINISHED container."""
    app = InstagramApp(sandbox, sandbox.account("instagram"))
    url = media.put("/reel.mp4", VIDEO)
    container = app.create(video_url=url, caption="hello").json()["id"]
    wait_until(lambda: app.state(container) == "FINISHED", "a FINISHED container")
    assert sandbox.posts_of(app.account) == []
    reel = app.publish(container).json()["id"]
    [post] = sandbox.posts_of(app.account)
    assert (post["id"], post["caption"], post["sha256"]) == (reel, "hello", sha256(VIDEO))
    assert app.state(container) == "PUBLISHED"
    assert app.get(f"{app.account.id}/media").json()["data"] == [{"id": reel}]
    fields = app.get(reel, fields="permalink,shortcode,timestamp,media_type").json()
    assert fields["shortcode"] in fields["permalink"]
    assert fields["media_type"] == "VIDEO"


def test_a_youtube_video_is_private_until_videos_update_makes_it_public(
    sandbox: SandboxProcess,
) -> None:
    """Upload is the preparation, videos.update the commit."""
    app = YouTubeApp(sandbox, sandbox.account("youtube"))
    video = app.uploaded()
    assert sandbox.posts_of(app.account) == []
    assert app.one(video)["status"]["uploadStatus"] == "processed"
    answer = app.update(video, privacyStatus="public", selfDeclaredMadeForKids=False)
    assert answer.json()["status"]["privacyStatus"] == "public"
    [post] = sandbox.posts_of(app.account)
    assert (post["id"], post["caption"], post["sha256"]) == (video, "a day out", sha256(VIDEO))
    assert app.videos("DELETE", {"id": video}).status_code == 204
    assert sandbox.posts_of(app.account) == []

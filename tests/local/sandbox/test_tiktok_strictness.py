"""TikTok refuses what its pages say it refuses, in its own words."""

from typing import Any

import pytest
from httpx2 import Response

from .apps import OCTETS, VIDEO, TikTokApp
from .conftest import MediaServer, SandboxProcess, wait_until

MIB = 1_048_576


@pytest.fixture
def app(sandbox: SandboxProcess) -> TikTokApp:
    return TikTokApp(sandbox, sandbox.account("tiktok"))


def code(answer: Response) -> str:
    return str(answer.json()["error"]["code"])


@pytest.mark.parametrize(
    ("size", "chunk", "count"),
    [
        (11_000_000, 5_500_000, 3),  # rounded up, as the old system did
        (50_000_123, 10_000_000, 6),
        (11_000_000, 5_000_000, 2),  # 5 MB in one reading, less in the other
        (4_000_000, 2_000_000, 2),  # below 5 MB: one chunk
        (4_000_000, 3_000_000, 1),  # one chunk must be the whole file
        (70_000_000, 70_000_000, 1),  # above 64 MB: several chunks
        (140_000_000, 64_500_000, 2),
        (5_000_000_000, 5_242_880, 953),  # above 4 GB
        (0, 0, 0),
        (10_485_760, 5_242_880, 0),
    ],
)
def test_a_wrong_chunk_plan_is_refused(app: TikTokApp, size: int, chunk: int, count: int) -> None:
    """total_chunk_count is video_size divided by chunk_size rounded down, sizes have bounds."""
    source = {"source": "FILE_UPLOAD", "video_size": size, "chunk_size": chunk,
              "total_chunk_count": count}  # fmt: skip
    answer = app.post(
        "post/publish/video/init/",
        {"post_info": {"privacy_level": "SELF_ONLY"}, "source_info": source},
    )
    assert (answer.status_code, code(answer)) == (400, "invalid_param")
    assert answer.json()["error"]["log_id"]


def test_the_vendors_own_example_plan_is_taken(app: TikTokApp) -> None:
    """50,000,123 bytes in chunks of 10,000,000: five, the last one is the larger."""
    assert app.init(size=50_000_123, chunk=10_000_000, count=5).status_code == 200


@pytest.mark.parametrize(
    ("info", "expected", "status"),
    [
        ({"privacy_level": None}, "invalid_param", 400),
        ({"privacy_level": "EVERYBODY"}, "invalid_param", 400),
        ({"privacy_level": "FOLLOWER_OF_CREATOR"}, "privacy_level_option_mismatch", 403),
        ({"title": "x" * 2201}, "invalid_param", 400),
        ({"title": "\U0001f600" * 1101}, "invalid_param", 400),
        ({"disable_duet": "yes"}, "invalid_param", 400),
        ({"video_cover_timestamp_ms": -1}, "invalid_param", 400),
    ],
)
def test_a_bad_post_info_is_refused(
    app: TikTokApp, info: dict[str, Any], expected: str, status: int
) -> None:
    """The title counts UTF-16 units; the privacy level must be one of creator_info's options."""
    answer = app.init(**info)
    assert (answer.status_code, code(answer)) == (status, expected)


def test_a_title_of_2200_utf16_units_is_taken(app: TikTokApp) -> None:
    """1,100 emoji are 2,200 units."""
    assert app.init(title="\U0001f600" * 1100).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        OCTETS,
        {**OCTETS, "Content-Range": "bytes 0-/16384"},
        {**OCTETS, "Content-Range": "bytes 0-16382/16384"},
        {**OCTETS, "Content-Range": "bytes 0-16383/99999"},
        {"Content-Type": "application/json", "Content-Range": "bytes 0-16383/16384"},
    ],
    ids=["no Content-Range", "malformed", "wrong length", "wrong total", "wrong type"],
)
def test_a_put_with_bad_headers_is_refused(
    sandbox: SandboxProcess, app: TikTokApp, headers: dict[str, str]
) -> None:
    """400, and nothing of the chunk is kept."""
    publish_id, url = app.opened()
    assert sandbox.http.put(url, content=VIDEO, headers=headers).status_code == 400
    assert app.status(publish_id)["uploaded_bytes"] == 0
    assert sandbox.posts_of(app.account) == []


def test_chunks_out_of_order_are_416_and_name_the_progress(
    sandbox: SandboxProcess, app: TikTokApp
) -> None:
    """The answer's Content-Range says how many bytes are there."""
    size, half = 12 * MIB, 6 * MIB
    body = bytes(size)
    publish_id, url = app.opened(size=size, chunk=half, count=2)
    early = app.put(url, body[half:], half, size)
    assert early.status_code == 416
    assert early.headers["content-range"] == f"bytes 0-0/{size}"
    stored = app.put(url, body[:half], 0, size)
    assert (stored.status_code, stored.headers["content-range"]) == (206, f"bytes 0-{half}/{size}")
    assert app.put(url, body[:half], 0, size).status_code == 416
    assert app.status(publish_id) == {"status": "PROCESSING_UPLOAD", "uploaded_bytes": half}
    assert sandbox.posts_of(app.account) == []
    assert app.put(url, body[half:], half, size).status_code == 201


def test_a_chunk_that_is_not_the_planned_one_is_refused(app: TikTokApp) -> None:
    """Chunks are as long as init announced them."""
    size = 12 * MIB
    _, url = app.opened(size=size, chunk=6 * MIB, count=2)
    assert app.put(url, bytes(5 * MIB), 0, size).status_code == 400
    assert app.put(url, bytes(size), 0, size).status_code == 400


def test_an_upload_url_dies_after_its_hour(sandbox: SandboxProcess, app: TikTokApp) -> None:
    """403 from then on; the post never becomes public."""
    publish_id, url = app.opened()
    sandbox.advance(3_601)
    assert app.put(url).status_code == 403
    assert app.status(publish_id)["status"] == "PROCESSING_UPLOAD"
    assert sandbox.posts_of(app.account) == []


def test_an_unknown_upload_is_404(sandbox: SandboxProcess, app: TikTokApp) -> None:
    """An upload task that never was."""
    _, url = app.opened()
    assert app.put(url.partition("upload_token=")[0] + "upload_token=guess").status_code == 404


def test_one_publish_id_makes_one_post(sandbox: SandboxProcess, app: TikTokApp) -> None:
    """Sending the whole file again to the same URL changes nothing."""
    _, url = app.opened()
    assert [app.put(url).status_code for _ in range(3)] == [201, 416, 416]
    assert len(sandbox.posts_of(app.account)) == 1


def test_an_expired_access_token_is_401(sandbox: SandboxProcess, app: TikTokApp) -> None:
    """Access tokens live two hours."""
    sandbox.advance(7_201)
    answer = app.init()
    assert (answer.status_code, code(answer)) == (401, "access_token_invalid")


def test_a_missing_scope_is_401(sandbox: SandboxProcess) -> None:
    """Direct Post needs video.publish."""
    app = TikTokApp(sandbox, sandbox.account("tiktok", scopes=["user.info.basic"]))
    answer = app.init()
    assert (answer.status_code, code(answer)) == (401, "scope_not_authorized")


def test_a_used_up_refresh_token_is_refused(sandbox: SandboxProcess, app: TikTokApp) -> None:
    """Rotation is strict: the old refresh token stops working once a new one is issued."""
    form = {"client_key": "k", "client_secret": "s", "grant_type": "refresh_token",
            "refresh_token": app.account.refresh}  # fmt: skip
    url = app.root + "oauth/token/"
    first = sandbox.http.post(url, data=form).json()
    assert first["refresh_token"] != app.account.refresh
    assert (first["expires_in"], first["refresh_expires_in"]) == (7_200, 15_552_000)
    again = sandbox.http.post(url, data=form)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert again.json()["log_id"]
    third = sandbox.http.post(url, data={**form, "refresh_token": first["refresh_token"]})
    assert third.status_code == 200


def test_calls_over_the_minute_are_429(sandbox: SandboxProcess, app: TikTokApp) -> None:
    """Six inits a minute per token; the window slides; another creator is not affected."""
    assert [app.init().status_code for _ in range(7)] == [200] * 6 + [429]
    assert TikTokApp(sandbox, sandbox.account("tiktok")).init().status_code == 200
    sandbox.advance(61)
    assert app.init().status_code == 200


def test_creator_info_names_spam_risks_with_status_200(
    sandbox: SandboxProcess, app: TikTokApp
) -> None:
    """The vendor's "200 (intentional)"; init answers the same code with 403."""
    sandbox.limits("tiktok", postsPerDay=1)
    _, url = app.opened()
    app.put(url)
    info = app.post("post/publish/creator_info/query/")
    assert (info.status_code, code(info)) == (200, "spam_risk_too_many_posts")
    answer = app.init()
    assert (answer.status_code, code(answer)) == (403, "spam_risk_too_many_posts")


def test_a_private_account_has_other_privacy_options(sandbox: SandboxProcess) -> None:
    """Followers, friends, self; duets and stitches are off; a SELF_ONLY post has no public id."""
    app = TikTokApp(sandbox, sandbox.account("tiktok", private=True))
    data = app.post("post/publish/creator_info/query/").json()["data"]
    assert data["privacy_level_options"] == [
        "FOLLOWER_OF_CREATOR", "MUTUAL_FOLLOW_FRIENDS", "SELF_ONLY",
    ]  # fmt: skip
    assert data["duet_disabled"]
    assert data["stitch_disabled"]
    publish_id, url = app.opened(privacy_level="SELF_ONLY")
    app.put(url)
    assert app.status(publish_id) == {
        "status": "PUBLISH_COMPLETE", "uploaded_bytes": len(VIDEO),
    }  # fmt: skip
    assert sandbox.posts_of(app.account) == []
    everything = sandbox.control("GET", "/posts?all=1")["posts"]
    [hidden] = [post for post in everything if post["account"] == app.account.id]
    assert (hidden["privacy"], hidden["public"], hidden["handle"]) == (
        "SELF_ONLY", False, publish_id,
    )  # fmt: skip


def test_an_unaudited_app_posts_only_to_private_accounts(sandbox: SandboxProcess) -> None:
    """It is about the account: SELF_ONLY on a public account is refused as well."""
    sandbox.limits("tiktok", unaudited=True)
    public = TikTokApp(sandbox, sandbox.account("tiktok"))
    private = TikTokApp(sandbox, sandbox.account("tiktok", private=True))
    answer = public.init(privacy_level="SELF_ONLY")
    assert code(answer) == "unaudited_client_can_only_post_to_private_accounts"
    assert answer.status_code == 403
    assert private.init(privacy_level="SELF_ONLY").status_code == 200


def test_a_publish_id_belongs_to_its_token(sandbox: SandboxProcess, app: TikTokApp) -> None:
    """Another creator's, or an unknown one, is 400."""
    publish_id, _ = app.opened()
    other = TikTokApp(sandbox, sandbox.account("tiktok"))
    path = "post/publish/status/fetch/"
    foreign = other.post(path, {"publish_id": publish_id})
    assert code(foreign) == "token_not_authorized_for_specified_publish_id"
    assert code(other.post(path, {"publish_id": "v_pub_file~v2-1.7"})) == "invalid_publish_id"


def test_the_public_id_comes_after_moderation(sandbox: SandboxProcess, app: TikTokApp) -> None:
    """PUBLISH_COMPLETE with an empty list is normal."""
    sandbox.limits("tiktok", processingMs=60_000, moderationMs=60_000)
    publish_id, url = app.opened()
    app.put(url)
    assert app.status(publish_id)["status"] == "PROCESSING_UPLOAD"
    sandbox.advance(60)
    status = app.status(publish_id)
    assert status["status"] == "PUBLISH_COMPLETE"
    assert "publicaly_available_post_id" not in status
    sandbox.advance(61)
    assert len(app.status(publish_id)["publicaly_available_post_id"]) == 1


def test_a_pull_needs_a_verified_domain_and_publishes_by_itself(
    sandbox: SandboxProcess, app: TikTokApp, media: MediaServer
) -> None:
    """PULL_FROM_URL: the init is the commit; a URL that cannot be fetched fails the post."""

    def pull(url: str) -> Response:
        return app.post(
            "post/publish/video/init/",
            {
                "post_info": {"privacy_level": "PUBLIC_TO_EVERYONE", "title": "pulled"},
                "source_info": {"source": "PULL_FROM_URL", "video_url": url},
            },
        )

    url = media.put("/pulled.mp4", VIDEO)
    answer = pull(url)
    assert (answer.status_code, code(answer)) == (403, "url_ownership_unverified")
    sandbox.limits("tiktok", verifiedDomains=["127.0.0.1"])
    assert "upload_url" not in pull(url).json()["data"]
    wait_until(lambda: len(sandbox.posts_of(app.account)) == 1, "the pulled post")
    lost = pull(media.base + "/nothing").json()["data"]["publish_id"]
    wait_until(lambda: app.status(lost)["status"] == "FAILED", "the failed pull")
    assert app.status(lost)["fail_reason"] == "video_pull_failed"


def test_videos_are_listed_with_numbers_that_only_grow(
    sandbox: SandboxProcess, app: TikTokApp
) -> None:
    """video/list and video/query name their fields in the query; at most 20 at a time."""
    _, url = app.opened()
    app.put(url)
    fields = "id,create_time,view_count,like_count"
    [video] = app.post(f"video/list/?fields={fields}", {"max_count": 20}).json()["data"]["videos"]
    assert set(video) == set(fields.split(","))
    sandbox.advance(3_600)
    body = {"filters": {"video_ids": [video["id"]]}}
    [later] = app.post(f"video/query/?fields={fields}", body).json()["data"]["videos"]
    assert later["view_count"] > video["view_count"]
    assert app.post("video/list/", {}).status_code == 400
    assert app.post(f"video/list/?fields={fields}", {"max_count": 21}).status_code == 400
    too_many = {"filters": {"video_ids": ["1"] * 21}}
    assert app.post(f"video/query/?fields={fields}", too_many).status_code == 400


def test_there_is_no_delete(app: TikTokApp) -> None:
    """The old system called an endpoint that does not exist."""
    assert app.post("video/delete/", {"video_id": "7"}).status_code == 404

"""Instagram refuses what its pages say it refuses, in its own words."""

from typing import Any

import pytest
from httpx2 import Response

from .apps import VIDEO, InstagramApp
from .conftest import MediaServer, SandboxProcess, wait_until


@pytest.fixture
def app(sandbox: SandboxProcess) -> InstagramApp:
    return InstagramApp(sandbox, sandbox.account("instagram"))


@pytest.fixture
def reel_url(media: MediaServer) -> str:
    return media.put("/reel.mp4", VIDEO)


def codes(answer: Response) -> tuple[int, int | None]:
    error: dict[str, Any] = answer.json()["error"]
    assert answer.status_code == 400, answer.text
    assert error["fbtrace_id"]
    return error["code"], error.get("error_subcode")


def test_the_publishing_limit_answers_only_what_its_page_names(app: InstagramApp) -> None:
    """quota_usage by default, config beside it; an unknown field and an old `since` are refused."""
    path = f"{app.account.id}/content_publishing_limit"
    assert app.get(path).json() == {"data": [{"quota_usage": 0}]}
    asked = app.get(path, fields="config,quota_usage").json()["data"][0]
    assert asked == {"config": {"quota_total": 100, "quota_duration": 86_400}, "quota_usage": 0}
    assert codes(app.get(path, fields="quota_usage,quota_left")) == (100, None)
    now = app.sandbox.http.get(app.sandbox.base + "/_sandbox/time").json()["now"] // 1000
    assert app.get(path, since=str(now - 3_600)).status_code == 200
    for since in (str(now - 86_500), str(now + 100), "yesterday"):
        assert codes(app.get(path, since=since)) == (100, None)
    assert codes(app.get("17841400000000000/content_publishing_limit")) == (100, 33)


@pytest.mark.parametrize(
    ("cover", "subcode"),
    [
        (b"\xff\xd8\xff\xe0" + VIDEO, None),
        (b"\x89PNG\r\n\x1a\n" + VIDEO, "2207005"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 8_000_000, "2207004"),
    ],
    ids=["jpeg", "png", "too large"],
)
def test_a_cover_is_fetched_and_must_be_a_jpeg_of_8_mb_at_most(
    app: InstagramApp, media: MediaServer, reel_url: str, cover: bytes, subcode: str | None
) -> None:
    """The container ends in ERROR with the image's subcode."""
    cover_url = media.put("/cover", cover)
    container = str(app.create(video_url=reel_url, cover_url=cover_url).json()["id"])
    wait_until(lambda: app.state(container) in {"FINISHED", "ERROR"}, "an end of processing")
    status = app.get(container, fields="status").json()["status"]
    assert app.state(container) == ("ERROR" if subcode else "FINISHED")
    assert subcode is None or subcode in status


def finished(app: InstagramApp, url: str) -> str:
    container = str(app.create(video_url=url).json()["id"])
    wait_until(lambda: app.state(container) == "FINISHED", "a FINISHED container")
    return container


def test_a_byte_upload_is_refused(app: InstagramApp) -> None:
    """upload_type=resumable does not exist with Instagram Login: video_url is asked for."""
    answer = app.create(upload_type="resumable")
    assert codes(answer) == (100, None)
    assert answer.json()["error"]["message"] == "The parameter video_url is required"


def test_a_container_that_is_not_ready_cannot_be_published(
    sandbox: SandboxProcess, app: InstagramApp, reel_url: str
) -> None:
    """9007/2207027 while IN_PROGRESS; nothing is public."""
    sandbox.limits("instagram", processingMs=600_000)
    container = app.create(video_url=reel_url).json()["id"]
    assert app.state(container) == "IN_PROGRESS"
    assert codes(app.publish(container)) == (9007, 2207027)
    assert sandbox.posts_of(app.account) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"media_type": "VIDEO"}, (100, 2207023)),
        ({"caption": "x" * 2201}, (36004, 2207010)),
        ({"caption": " ".join(f"#tag{n}" for n in range(31))}, (100, 2207040)),
        ({"caption": " ".join(f"@you{n}" for n in range(21))}, (100, 2207040)),
        ({"thumb_offset": "-5"}, (1, 2207057)),
        ({"share_to_feed": "perhaps"}, (100, None)),
        ({"video_url": "ftp://127.0.0.1/x.mp4"}, (9004, 2207052)),
        ({"video_url": "http://203.0.113.7/x.mp4"}, (9004, 2207052)),
    ],
)
def test_bad_container_values_are_refused(
    app: InstagramApp, reel_url: str, values: dict[str, str], expected: tuple[int, int | None]
) -> None:
    """Each with the code and subcode of the vendor's table; plain http only on loopback."""
    assert codes(app.create(**{"video_url": reel_url, **values})) == expected


def test_a_url_that_gives_nothing_makes_the_container_fail(
    app: InstagramApp, media: MediaServer, reel_url: str
) -> None:
    """Missing object, or a redirect, which is not followed: ERROR with 2207052."""
    media.redirects["/moved.mp4"] = reel_url
    for url in (media.base + "/absent.mp4", media.base + "/moved.mp4"):
        container = app.create(video_url=url).json()["id"]
        wait_until(lambda c=container: app.state(c) == "ERROR", "the ERROR")  # type: ignore[misc]  # binds the loop's value
        assert "2207052" in app.get(container, fields="status").json()["status"]


def test_a_file_above_the_limit_makes_the_container_fail(
    sandbox: SandboxProcess, app: InstagramApp, reel_url: str
) -> None:
    """Reels have at most 300 MB."""
    sandbox.limits("instagram", maxVideoBytes=len(VIDEO) - 1)
    container = app.create(video_url=reel_url).json()["id"]
    wait_until(lambda: app.state(container) == "ERROR", "the ERROR")
    assert "2207026" in app.get(container, fields="status").json()["status"]


def test_a_container_dies_after_24_hours(
    sandbox: SandboxProcess, app: InstagramApp, reel_url: str
) -> None:
    """EXPIRED, and publishing it is 24/2207008."""
    container = finished(app, reel_url)
    sandbox.advance(86_400)
    assert app.state(container) == "EXPIRED"
    assert codes(app.publish(container)) == (24, 2207008)


def test_publishing_again_gives_the_same_id_or_a_refusal_but_never_a_second_post(
    sandbox: SandboxProcess, app: InstagramApp, reel_url: str
) -> None:
    """What a repeat answers is undocumented: both variants can be set."""
    container = finished(app, reel_url)
    first = app.publish(container).json()["id"]
    assert app.publish(container).json()["id"] == first
    sandbox.limits("instagram", repeatPublish="refused")
    assert codes(app.publish(container)) == (24, 2207008)
    assert len(sandbox.posts_of(app.account)) == 1


def test_an_unknown_or_foreign_creation_id_is_refused(
    sandbox: SandboxProcess, app: InstagramApp, reel_url: str
) -> None:
    """The two look alike."""
    other = InstagramApp(sandbox, sandbox.account("instagram"))
    foreign = finished(other, reel_url)
    assert codes(app.publish(foreign)) == (24, 2207006)
    assert codes(app.publish("17880000000000000")) == (24, 2207006)
    assert codes(app.get(foreign, fields="status_code")) == (100, 33)


def test_the_publishing_limit_is_live_and_enforced(
    sandbox: SandboxProcess, app: InstagramApp, reel_url: str
) -> None:
    """quota_total counts a moving 24 hours; beyond it 9/2207042."""
    sandbox.limits("instagram", postsPerDay=1)
    one, two = finished(app, reel_url), finished(app, reel_url)
    assert app.publish(one).status_code == 200
    assert codes(app.publish(two)) == (9, 2207042)
    limit = app.get(f"{app.account.id}/content_publishing_limit", fields="config,quota_usage")
    assert limit.json()["data"] == [
        {"config": {"quota_total": 1, "quota_duration": 86_400}, "quota_usage": 1}
    ]
    sandbox.advance(86_401)
    assert app.publish(finished(app, reel_url)).status_code == 200


def test_containers_have_a_daily_limit(
    sandbox: SandboxProcess, app: InstagramApp, reel_url: str
) -> None:
    """400 in a rolling 24 hours, set to 1 here."""
    sandbox.limits("instagram", containersPerDay=1)
    assert app.create(video_url=reel_url).status_code == 200
    assert codes(app.create(video_url=reel_url)) == (9, 2207042)


def test_an_unversioned_or_foreign_path_is_refused(
    sandbox: SandboxProcess, app: InstagramApp, reel_url: str
) -> None:
    """A version is always sent; the IG id must be the token's (`me` stands for it)."""
    base = sandbox.env["INSTAGRAM_GRAPH_BASE_URL"]
    bare = sandbox.http.get(f"{base}/me", headers=app.account.bearer)
    assert codes(bare) == (2500, None)
    for version in ("v21.0", "v26.0"):
        known = sandbox.http.get(f"{base}/{version}/me", headers=app.account.bearer)
        assert known.status_code == 200
    other = sandbox.account("instagram")
    answer = app.post(f"{other.id}/media", media_type="REELS", video_url=reel_url)
    assert codes(answer) == (100, 33)
    assert app.post("me/media", media_type="REELS", video_url=reel_url).status_code == 200


def test_the_token_goes_in_the_header_or_as_access_token(
    sandbox: SandboxProcess, app: InstagramApp
) -> None:
    """Both are shown in the vendor's pages; `user_id` is for paths, `id` is the app's own."""
    by_header = app.get("me", fields="user_id,username").json()
    by_query = sandbox.http.get(
        app.root + "me", params={"fields": "user_id,username", "access_token": app.account.access}
    ).json()
    assert by_header == by_query
    assert by_header["user_id"] == app.account.id
    assert by_header["id"] != app.account.id


def test_an_expired_token_is_190_463(sandbox: SandboxProcess) -> None:
    """An unknown one is 190 without a subcode."""
    app = InstagramApp(sandbox, sandbox.account("instagram", expiresIn=60))
    sandbox.advance(61)
    assert codes(app.get("me")) == (190, 463)
    app.account.access = "IGAAnever"
    assert codes(app.get("me")) == (190, None)


def test_a_long_lived_token_refreshes_itself_only_after_24_hours(
    sandbox: SandboxProcess, app: InstagramApp
) -> None:
    """There is no refresh token; the new one lives 60 days from then."""
    url = sandbox.env["INSTAGRAM_GRAPH_BASE_URL"] + "/refresh_access_token"
    query = {"grant_type": "ig_refresh_token", "access_token": app.account.access}
    assert codes(sandbox.http.get(url, params=query)) == (100, None)
    sandbox.advance(86_400)
    answer = sandbox.http.get(url, params=query).json()
    assert (answer["token_type"], answer["expires_in"]) == ("bearer", 5_184_000)
    assert answer["access_token"] != app.account.access
    sandbox.advance(5_184_000)
    assert codes(sandbox.http.get(url, params=query)) == (190, 463)


def test_nothing_can_be_deleted(sandbox: SandboxProcess, app: InstagramApp, reel_url: str) -> None:
    """DELETE is for Facebook Login only."""
    reel = app.publish(finished(app, reel_url)).json()["id"]
    answer = sandbox.http.delete(app.root + reel, headers=app.account.bearer)
    assert codes(answer) == (10, None)
    assert len(sandbox.posts_of(app.account)) == 1


def test_insights_know_todays_metrics_only(
    sandbox: SandboxProcess, app: InstagramApp, reel_url: str
) -> None:
    """Withdrawn metrics are refused; numbers only grow; what is late is an empty set, not 0."""
    reel = app.publish(finished(app, reel_url)).json()["id"]

    def views() -> int:
        [row] = app.get(f"{reel}/insights", metric="views").json()["data"]
        return int(row["values"][0]["value"])

    before = views()
    sandbox.advance(7_200)
    assert views() > before
    assert codes(app.get(f"{reel}/insights", metric="plays")) == (100, None)
    assert codes(app.get(f"{reel}/insights", metric="crossposted_views")) == (1, None)
    sandbox.limits("instagram", insightsDelayMs=10_000_000)
    assert app.get(f"{reel}/insights", metric="views").json()["data"] == []


def test_a_caption_cannot_be_read_back(app: InstagramApp, reel_url: str) -> None:
    """The node's caption is for Facebook Login: the field is left out."""
    reel = app.publish(finished(app, reel_url)).json()["id"]
    assert app.get(reel, fields="caption,timestamp").json().keys() == {"id", "timestamp"}


def test_the_media_list_pages_newest_first(app: InstagramApp, reel_url: str) -> None:
    """`limit` and `after`, as Graph edges page."""
    reels = [app.publish(finished(app, reel_url)).json()["id"] for _ in range(3)]
    path = f"{app.account.id}/media"
    first = app.get(path, limit=2).json()
    rest = app.get(path, limit=2, after=first["paging"]["cursors"]["after"]).json()
    assert [item["id"] for item in first["data"] + rest["data"]] == reels[::-1]
    assert "next" in first["paging"]
    assert "next" not in rest["paging"]

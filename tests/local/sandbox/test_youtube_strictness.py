"""YouTube refuses what its pages say it refuses, in its own words."""

import socket
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
from httpx2 import Response

from .apps import VIDEO, YouTubeApp
from .conftest import SandboxProcess, sha256, wait_until

BLOCK = 262_144
JPEG = b"\xff\xd8\xff\xe0" + bytes(64)


@pytest.fixture
def app(sandbox: SandboxProcess) -> YouTubeApp:
    return YouTubeApp(sandbox, sandbox.account("youtube"))


def reason(answer: Response) -> tuple[int, str]:
    body = answer.json()["error"]
    assert body["code"] == answer.status_code
    return answer.status_code, body["errors"][0]["reason"]


def instant(sandbox: SandboxProcess, seconds: float) -> str:
    now = sandbox.control("GET", "/time")["now"] / 1000
    moment = datetime.fromtimestamp(now, UTC) + timedelta(seconds=seconds)
    return moment.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("snippet", "expected"),
    [
        ({}, "invalidTitle"),
        ({"title": "x" * 101}, "invalidTitle"),
        ({"title": "a <b> c"}, "invalidTitle"),
        ({"title": "ok", "description": "é" * 2501}, "invalidDescription"),
        ({"title": "ok", "description": "1 < 2"}, "invalidDescription"),
        ({"title": "ok", "tags": ["two words"] * 46}, "invalidTags"),
        ({"title": "ok", "tags": "one"}, "invalidTags"),
        ({"title": "ok", "categoryId": 22}, "invalidCategoryId"),
    ],
)
def test_a_bad_snippet_is_refused(app: YouTubeApp, snippet: dict[str, Any], expected: str) -> None:
    """Titles count characters, descriptions bytes, tags their quotes and commas."""
    assert reason(app.start(snippet=snippet)) == (400, expected)


def test_a_description_of_5000_bytes_is_taken(app: YouTubeApp) -> None:
    """2,500 letters of two bytes."""
    assert app.start(snippet={"title": "ok", "description": "é" * 2500}).status_code == 200


def test_publish_at_on_a_public_video_is_refused(sandbox: SandboxProcess, app: YouTubeApp) -> None:
    """`publishAt` needs privacyStatus private and a video that was never public."""
    later = instant(sandbox, 3_600)
    refused = app.start(status={"privacyStatus": "public", "publishAt": later})
    assert reason(refused) == (400, "invalidPublishAt")
    video = app.uploaded()
    assert app.update(video, privacyStatus="public").status_code == 200
    for privacy in ("public", "private"):
        answer = app.update(video, privacyStatus=privacy, publishAt=later)
        assert reason(answer) == (400, "invalidPublishAt")
    assert app.one(video)["status"]["privacyStatus"] == "public"


def test_publish_at_makes_a_private_video_public_by_itself(
    sandbox: SandboxProcess, app: YouTubeApp
) -> None:
    """At its instant; clearing the part disarms it; a past instant publishes at once."""
    armed, disarmed, past = app.uploaded(), app.uploaded(), app.uploaded()
    later = instant(sandbox, 600)
    for video in (armed, disarmed):
        assert app.update(video, privacyStatus="private", publishAt=later).status_code == 200
    assert "publishAt" in app.one(armed)["status"]
    app.update(disarmed, privacyStatus="private")
    assert sandbox.posts_of(app.account) == []
    sandbox.advance(601)
    [post] = sandbox.posts_of(app.account)
    assert post["id"] == armed
    due = datetime.fromisoformat(later).timestamp() * 1000
    assert abs(post["publishedAt"] - due) <= 1
    app.update(past, privacyStatus="private", publishAt=instant(sandbox, -60))
    assert {p["id"] for p in sandbox.posts_of(app.account)} == {armed, past}
    assert app.one(disarmed)["status"]["privacyStatus"] == "private"


def test_update_overwrites_the_whole_part(app: YouTubeApp) -> None:
    """Omitted fields are cleared; a named part must be there; a snippet needs its category."""
    video = app.uploaded(status={"privacyStatus": "private", "selfDeclaredMadeForKids": True})
    assert app.one(video)["status"]["selfDeclaredMadeForKids"] is True
    app.update(video, privacyStatus="private")
    assert "selfDeclaredMadeForKids" not in app.one(video)["status"]
    missing = app.videos("PUT", {"part": "status"}, {"id": video})
    assert reason(missing) == (400, "invalidVideoMetadata")
    snippet = {"id": video, "snippet": {"title": "new"}}
    assert reason(app.videos("PUT", {"part": "snippet"}, snippet)) == (400, "invalidCategoryId")
    snippet["snippet"] = {"title": "new", "categoryId": "24"}
    assert app.videos("PUT", {"part": "snippet"}, snippet).status_code == 200
    assert app.one(video, "snippet")["snippet"]["title"] == "new"


def test_an_update_without_privacy_falls_back_to_public(
    sandbox: SandboxProcess, app: YouTubeApp
) -> None:
    """The vendor's own warning on videos.update."""
    video = app.uploaded()
    app.update(video, embeddable=True)
    assert [post["id"] for post in sandbox.posts_of(app.account)] == [video]


def test_a_session_takes_chunks_and_tells_how_far_it_is(
    sandbox: SandboxProcess, app: YouTubeApp
) -> None:
    """308 with Range; no Range header when nothing is stored; the final answer is repeated."""
    body = bytes(range(256)) * 4_000
    total = len(body)
    uri = app.session(size=total)
    empty = app.ask(uri, total)
    assert empty.status_code == 308
    assert "range" not in empty.headers
    first = app.put(uri, body[:BLOCK], f"bytes 0-{BLOCK - 1}/{total}")
    assert (first.status_code, first.headers["range"]) == (308, f"bytes=0-{BLOCK - 1}")
    gap = app.put(uri, body[2 * BLOCK : 3 * BLOCK], f"bytes {2 * BLOCK}-{3 * BLOCK - 1}/{total}")
    assert (gap.status_code, gap.headers["range"]) == (308, f"bytes=0-{BLOCK - 1}")
    done = app.put(uri, body[BLOCK:], f"bytes {BLOCK}-{total - 1}/{total}")
    assert done.status_code == 201
    assert app.ask(uri, total).json()["id"] == done.json()["id"]
    assert app.put(uri, body).json()["id"] == done.json()["id"]
    app.update(done.json()["id"], privacyStatus="public")
    [post] = sandbox.posts_of(app.account)
    assert (post["bytes"], post["sha256"]) == (total, sha256(body))


@pytest.mark.parametrize(
    ("length", "span"),
    [
        (BLOCK - 1, f"bytes 0-{BLOCK - 2}/{4 * BLOCK}"),
        (BLOCK, f"bytes 0-{BLOCK}/{4 * BLOCK}"),
        (BLOCK, f"bytes 0-{BLOCK - 1}/{5 * BLOCK}"),
        (BLOCK, f"bytes 0-{BLOCK - 1}"),
        (BLOCK, None),
    ],
    ids=["not a multiple of 256 KiB", "wrong length", "wrong total", "malformed", "too short"],
)
def test_a_bad_chunk_is_refused(app: YouTubeApp, length: int, span: str | None) -> None:
    """400, and nothing of it is stored."""
    uri = app.session(size=4 * BLOCK)
    assert app.put(uri, bytes(length), span).status_code == 400
    assert "range" not in app.ask(uri, 4 * BLOCK).headers


def test_what_came_before_a_broken_connection_is_kept(
    sandbox: SandboxProcess, app: YouTubeApp
) -> None:
    """In whole blocks of 262,144 bytes; the upload goes on from there."""
    total = 3 * BLOCK
    body = bytes(range(256)) * (total // 256)
    uri = app.session(size=total)
    parts = urlsplit(uri)
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as peer:
        head = (
            f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Type: video/mp4\r\nContent-Length: {total}\r\n\r\n"
        )
        peer.sendall(head.encode() + body[: BLOCK + 1000])
    wait_until(lambda: "range" in app.ask(uri, total).headers, "the bytes before the break")
    assert app.ask(uri, total).headers["range"] == f"bytes=0-{BLOCK - 1}"
    done = app.put(uri, body[BLOCK:], f"bytes {BLOCK}-{total - 1}/{total}")
    app.update(done.json()["id"], privacyStatus="public")
    assert sandbox.posts_of(app.account)[0]["sha256"] == sha256(body)


def test_an_expired_session_is_404(sandbox: SandboxProcess) -> None:
    """Start over from byte 0."""
    sandbox.limits("youtube", sessionTtlSeconds=600)
    app = YouTubeApp(sandbox, sandbox.account("youtube"))
    uri = app.session()
    sandbox.advance(601)
    assert app.ask(uri, len(VIDEO)).status_code == 404
    assert app.put(uri).status_code == 404


def test_uploads_have_a_daily_quota_that_returns_at_midnight_pacific(
    sandbox: SandboxProcess,
) -> None:
    """Even invalid requests cost; the bucket is the project's."""
    sandbox.advance(86_400)
    app = YouTubeApp(sandbox, sandbox.account("youtube"))
    sandbox.limits("youtube", uploadsPerDay=2)
    assert app.start(snippet={}).status_code == 400
    assert app.start().status_code == 200
    refused = app.start()
    assert reason(refused) == (403, "quotaExceeded")
    assert refused.json()["error"]["errors"][0]["domain"] == "youtube.quota"
    sandbox.advance(86_400)
    fresh = YouTubeApp(sandbox, sandbox.account("youtube"))
    assert fresh.start().status_code == 200


def test_other_calls_are_charged_in_units(sandbox: SandboxProcess) -> None:
    """videos.update and delete 50, list 1; uploads and batchGetStats are not charged there."""
    app = YouTubeApp(sandbox, sandbox.account("youtube"))
    video = app.uploaded()
    sandbox.advance(86_400)
    app.account = sandbox.account("youtube", platformAccountId=app.account.id)
    sandbox.limits("youtube", unitsPerDay=101)
    assert app.update(video, privacyStatus="public").status_code == 200
    assert app.update(video, privacyStatus="public").status_code == 200
    assert app.videos("GET", {"part": "id", "id": video}).status_code == 200
    assert reason(app.videos("DELETE", {"id": video})) == (403, "quotaExceeded")
    stats = sandbox.http.get(
        app.root + "/youtube/v3/videos:batchGetStats",
        params={"id": video, "part": "statistics"},
        headers=app.account.bearer,
    )
    assert isinstance(stats.json()["items"][0]["statistics"]["viewCount"], str)


def test_a_channels_own_upload_limit_is_400(sandbox: SandboxProcess, app: YouTubeApp) -> None:
    """uploadLimitExceeded, apart from the project's quota."""
    sandbox.limits("youtube", uploadsPerChannelPerDay=1)
    app.uploaded()
    assert reason(app.start()) == (400, "uploadLimitExceeded")


def test_scopes_and_tokens_are_checked(sandbox: SandboxProcess) -> None:
    """youtube.upload may insert but neither list nor update; an expired token is 401 authError."""
    scope = "https://www.googleapis.com/auth/youtube.upload"
    app = YouTubeApp(sandbox, sandbox.account("youtube", scopes=[scope]))
    video = app.uploaded()
    refused = (403, "insufficientPermissions")
    assert reason(app.videos("GET", {"part": "id", "id": video})) == refused
    assert reason(app.update(video, privacyStatus="public")) == refused
    sandbox.advance(3_601)
    answer = app.start()
    assert reason(answer) == (401, "authError")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_refresh_answer_has_no_refresh_token_and_the_old_one_stays(
    sandbox: SandboxProcess, app: YouTubeApp
) -> None:
    """Google does not rotate; a revoked token is invalid_grant."""
    base = sandbox.env["GOOGLE_OAUTH_BASE_URL"]
    form = {"client_id": "c", "client_secret": "s", "grant_type": "refresh_token",
            "refresh_token": app.account.refresh}  # fmt: skip
    for _ in range(2):
        answer = sandbox.http.post(base + "/token", data=form).json()
        assert "refresh_token" not in answer
        assert answer["token_type"] == "Bearer"
    token = {"token": app.account.refresh}
    assert sandbox.http.post(base + "/revoke", data=token).status_code == 200
    refused = sandbox.http.post(base + "/token", data=form)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert refused.json()["error_description"] == "Token has been expired or revoked."
    assert reason(app.start()) == (401, "authError")


def test_private_videos_are_seen_by_their_owner_only(
    sandbox: SandboxProcess, app: YouTubeApp
) -> None:
    """The owner finds them in the uploads playlist too; another's update is 403, unknown 404."""
    video = app.uploaded(snippet={"title": "mine", "tags": ["marker-1"]})
    other = YouTubeApp(sandbox, sandbox.account("youtube"))
    assert app.one(video, "snippet")["snippet"]["tags"] == ["marker-1"]
    assert other.one(video) == {}
    assert reason(other.update(video, privacyStatus="public")) == (403, "forbidden")
    assert reason(other.videos("DELETE", {"id": "nothing"})) == (404, "videoNotFound")

    def read(path: str, **query: str) -> Any:
        url = f"{app.root}/youtube/v3/{path}"
        return sandbox.http.get(url, params=query, headers=app.account.bearer).json()

    [channel] = read("channels", part="id,contentDetails", mine="true")["items"]
    assert channel["id"] == app.account.id
    uploads = channel["contentDetails"]["relatedPlaylists"]["uploads"]
    items = read("playlistItems", part="contentDetails", playlistId=uploads)["items"]
    assert [item["contentDetails"]["videoId"] for item in items] == [video]


def test_a_deleted_video_is_gone(sandbox: SandboxProcess, app: YouTubeApp) -> None:
    """204, then 404; its session no longer repeats an answer with it."""
    uri = app.session()
    video = app.put(uri).json()["id"]
    assert app.videos("DELETE", {"id": video}).status_code == 204
    assert reason(app.videos("DELETE", {"id": video})) == (404, "videoNotFound")
    assert app.one(video) == {}
    assert app.ask(uri, len(VIDEO)).status_code == 404


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (JPEG, "image/jpeg", 200),
        (b"GIF89a", "image/jpeg", 400),
        (b"", "image/png", 400),
        (JPEG, "text/plain", 400),
    ],
)
def test_a_thumbnail_is_a_jpeg_or_png(
    sandbox: SandboxProcess, app: YouTubeApp, body: bytes, kind: str, expected: int
) -> None:
    """Refused as invalidImage or mediaBodyRequired otherwise."""
    video = app.uploaded()
    answer = sandbox.http.post(
        app.root + "/upload/youtube/v3/thumbnails/set",
        params={"videoId": video},
        content=body,
        headers={**app.account.bearer, "Content-Type": kind},
    )
    assert answer.status_code == expected


def pacific_day(sandbox: SandboxProcess) -> str:
    """The sandbox's present day where reports are counted."""
    now = datetime.fromisoformat(instant(sandbox, 0))
    return now.astimezone(ZoneInfo("America/Los_Angeles")).date().isoformat()


def test_reports_leave_rows_out_when_there_is_nothing(
    sandbox: SandboxProcess, app: YouTubeApp
) -> None:
    """Columns in request order, dimensions first; days sum up to the counters."""
    url = sandbox.env["YOUTUBE_ANALYTICS_BASE_URL"] + "/v2/reports"
    today = pacific_day(sandbox)
    query = {"ids": "channel==MINE", "startDate": today, "endDate": today,
             "metrics": "views,likes", "dimensions": "day"}  # fmt: skip
    empty = sandbox.http.get(url, params=query, headers=app.account.bearer).json()
    assert "rows" not in empty
    video = app.uploaded()
    app.update(video, privacyStatus="public")
    sandbox.advance(2 * 86_400)
    app.account = sandbox.account("youtube", platformAccountId=app.account.id)
    query |= {"endDate": pacific_day(sandbox), "filters": f"video=={video}"}
    report = sandbox.http.get(url, params=query, headers=app.account.bearer).json()
    assert [column["name"] for column in report["columnHeaders"]] == ["day", "views", "likes"]
    assert len(report["rows"]) == 3
    views = sum(row[1] for row in report["rows"])
    counted = int(app.one(video, "statistics")["statistics"]["viewCount"])
    assert abs(views - counted) <= counted // 100 + 1
    wrong = {**query, "metrics": "views,happiness"}
    refused = sandbox.http.get(url, params=wrong, headers=app.account.bearer)
    assert reason(refused) == (400, "badRequest")

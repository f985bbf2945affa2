"""The control interface: seeding, inspection, limits, time, restart, and who may ask."""

import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .apps import VIDEO, InstagramApp, TikTokApp, YouTubeApp
from .conftest import MediaServer, SandboxProcess, sha256, wait_until


@pytest.mark.parametrize("host", ["sandbox.example", "127.0.0.1.example:80", "10.0.0.1", ""])
def test_only_loopback_names_are_answered(sandbox: SandboxProcess, host: str) -> None:
    """A web page that rebinds its name to 127.0.0.1 must not reach the sandbox."""
    answer = sandbox.http.get(sandbox.base + "/_sandbox/posts", headers={"Host": host})
    assert answer.status_code == 403
    localhost = {"Host": "localhost:1234"}
    assert sandbox.http.get(sandbox.base + "/_sandbox/posts", headers=localhost).status_code == 200


def test_a_seeded_account_gets_tokens_as_its_platform_gives_them(
    sandbox: SandboxProcess,
) -> None:
    """TikTok 2 h and 180 d, Instagram 60 d without a refresh token, Google 1 h."""
    made = {
        platform: sandbox.control("POST", "/accounts", {"platform": platform})
        for platform in ("tiktok", "instagram", "youtube")
    }
    assert (made["tiktok"]["expiresIn"], made["tiktok"]["refreshExpiresIn"]) == (7_200, 15_552_000)
    assert (made["instagram"]["expiresIn"], made["instagram"]["refreshToken"]) == (5_184_000, None)
    assert made["youtube"]["expiresIn"] == 3_600
    assert made["youtube"]["refreshToken"]
    again = sandbox.control(
        "POST",
        "/accounts",
        {"platform": "tiktok", "platformAccountId": made["tiktok"]["platformAccountId"]},
    )
    assert again["username"] == made["tiktok"]["username"]
    assert again["accessToken"] != made["tiktok"]["accessToken"]
    listed = sandbox.http.get(sandbox.base + "/_sandbox/accounts").text
    assert made["tiktok"]["username"] in listed
    for account in made.values():
        assert account["accessToken"] not in listed


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"platform": "myspace"}, "platform"),
        ({"platform": "tiktok", "private": "no"}, "private"),
        ({"platform": "tiktok", "expiresIn": 0}, "expiresIn"),
        ({"platform": "tiktok", "colour": "red"}, "colour"),
        ([], "object"),
    ],
)
def test_a_bad_account_is_refused_by_name(sandbox: SandboxProcess, body: Any, field: str) -> None:
    """And none is made."""
    before = sandbox.control("GET", "/accounts")
    answer = sandbox.http.post(sandbox.base + "/_sandbox/accounts", json=body)
    assert answer.status_code == 400
    assert field in answer.json()["error"]
    assert sandbox.control("GET", "/accounts") == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tiktok": {"initsPerMinute": 7}}, "tiktok.initsPerMinute"),
        ({"tiktok": {"initPerMinute": "many"}}, "tiktok.initPerMinute"),
        ({"tiktok": {"initPerMinute": True}}, "tiktok.initPerMinute"),
        ({"tiktok": {"initPerMinute": -1}}, "tiktok.initPerMinute"),
        ({"tiktok": {"initPerMinute": None}}, "tiktok.initPerMinute"),
        ({"instagram": {"repeatPublish": "maybe"}}, "instagram.repeatPublish"),
        ({"youtube": {"prices": {"list": 2, "walk": 1}}}, "youtube.prices.walk"),
        ({"myspace": {}}, "myspace"),
    ],
)
def test_a_bad_limit_is_refused_by_name_and_nothing_changes(
    sandbox: SandboxProcess, body: Any, field: str
) -> None:
    """A whole change is taken or none of it."""
    before = sandbox.control("GET", "/limits")
    good_first = {"youtube": {"uploadsPerDay": 3}, **body}
    answer = sandbox.http.put(sandbox.base + "/_sandbox/limits", json=good_first)
    assert answer.status_code == 400
    assert field in answer.json()["error"]
    assert sandbox.control("GET", "/limits") == before


def test_limits_merge_deeply(sandbox: SandboxProcess) -> None:
    """Naming one leaves the others; an optional one can be set, unset and set again."""
    sandbox.control("PUT", "/limits", {"youtube": {"prices": {"update": 7}}})
    shown = sandbox.control("GET", "/limits")["youtube"]
    assert (shown["prices"]["update"], shown["prices"]["delete"]) == (7, 50)
    for value in (15, None, 25):
        sandbox.limits("tiktok", postsPerDay=value)
        assert sandbox.control("GET", "/limits")["tiktok"]["postsPerDay"] == value


def test_configured_app_credentials_are_checked(sandbox: SandboxProcess) -> None:
    """Any non-empty pair passes until one is named."""
    account = sandbox.account("tiktok")
    url = sandbox.env["TIKTOK_API_BASE_URL"] + "/v2/oauth/token/"
    form = {"client_key": "mine", "client_secret": "", "grant_type": "refresh_token",
            "refresh_token": account.refresh}  # fmt: skip
    assert sandbox.http.post(url, data=form).json()["error"] == "invalid_client"
    sandbox.limits("tiktok", clientId="mine", clientSecret="known")
    form["client_secret"] = "other"
    assert sandbox.http.post(url, data=form).json()["error"] == "invalid_client"
    form["client_secret"] = "known"
    assert sandbox.http.post(url, data=form).status_code == 200


def test_the_call_list_shows_what_was_asked_without_secrets(
    sandbox: SandboxProcess, media: MediaServer
) -> None:
    """Platform, operation, method, path, status, account, arrival; no token, no upload key."""
    sandbox.control("DELETE", "/calls")
    tiktok = TikTokApp(sandbox, sandbox.account("tiktok"))
    instagram = InstagramApp(sandbox, sandbox.account("instagram"))
    youtube = YouTubeApp(sandbox, sandbox.account("youtube"))
    _, url = tiktok.opened()
    tiktok.put(url)
    uri = youtube.session()
    youtube.put(uri)
    form = {"client_key": "k", "client_secret": "s", "grant_type": "refresh_token",
            "refresh_token": tiktok.account.refresh}  # fmt: skip
    sandbox.http.post(tiktok.root + "oauth/token/", data=form)
    query = {"access_token": instagram.account.access, "fields": "id"}
    sandbox.http.get(instagram.root + "me", params=query)
    text = sandbox.http.get(sandbox.base + "/_sandbox/calls").text
    calls = json.loads(text)["calls"]
    assert [(c["operation"], c["status"]) for c in calls] == [
        ("init", 200), ("last_chunk", 201), ("session", 200), ("upload", 201), ("token", 200),
        ("profile", 200),
    ]  # fmt: skip
    assert [c["account"] for c in calls] == [
        tiktok.account.id, tiktok.account.id, youtube.account.id, youtube.account.id,
        tiktok.account.id, instagram.account.id,
    ]  # fmt: skip
    for secret in (
        tiktok.account.access, tiktok.account.refresh, instagram.account.access,
        url.partition("upload_token=")[2], uri.partition("upload_id=")[2],
    ):  # fmt: skip
        assert secret
        assert secret not in text
    since = calls[-1]["at"] + 1
    assert sandbox.control("GET", f"/calls?since={since}")["calls"] == []
    assert len(sandbox.control("GET", "/calls?operation=upload")["calls"]) == 1


def test_the_witness_tells_what_was_given_out_and_shown(
    sandbox: SandboxProcess, media: MediaServer
) -> None:
    """Tokens, upload keys, app secrets and a video's signed address, each with its kind; no ids, no codes."""
    tiktok = TikTokApp(sandbox, sandbox.account("tiktok"))
    instagram = InstagramApp(sandbox, sandbox.account("instagram"))
    _, url = tiktok.opened()
    uri = YouTubeApp(sandbox, sandbox.account("youtube")).session()
    form = {"client_key": "an-app-of-ours-2026", "client_secret": "s3cret-of-our-app-2026",
            "grant_type": "refresh_token", "refresh_token": tiktok.account.refresh}  # fmt: skip
    renewed = sandbox.http.post(tiktok.root + "oauth/token/", data=form).json()
    signed = f"https://127.0.0.1:1/v.mp4?X-Amz-Signature={'9a' * 32}&X-Amz-Date=20261124T000000Z"
    instagram.post("me/media", video_url=signed, media_type="REELS")
    told = {item["value"]: item["kind"] for item in sandbox.control("GET", "/secrets")["secrets"]}
    assert (
        told.items()
        >= {
            tiktok.account.access: "access token",
            tiktok.account.refresh: "refresh token",
            renewed["refresh_token"]: "refresh token",
            "s3cret-of-our-app-2026": "client secret",
            url.partition("upload_token=")[2]: "upload URL",
            uri.partition("upload_id=")[2]: "session URI",
            "9a" * 32: "presigned URL",
        }.items()
    )
    assert not told.keys() & {tiktok.account.id, "an-app-of-ours-2026", "20261124T000000Z"}


def test_a_restart_forgets_nothing_that_was_accepted(tmp_path: Path, media: MediaServer) -> None:
    """Posts, handles, tokens, limits, faults and the clock live in one private file."""
    sandbox = SandboxProcess(tmp_path / "state.db")
    sandbox.limits("instagram", processingMs=0)
    sandbox.limits("tiktok", initPerMinute=99, processingMs=0)
    tiktok = TikTokApp(sandbox, sandbox.account("tiktok"))
    instagram = InstagramApp(sandbox, sandbox.account("instagram"))
    container = instagram.create(video_url=media.put("/r.mp4", VIDEO)).json()["id"]
    wait_until(lambda: instagram.state(container) == "FINISHED", "a FINISHED container")
    _, done = tiktok.opened()
    tiktok.put(done)
    half_id, half = tiktok.opened(size=12_000_000, chunk=6_000_000, count=2)
    tiktok.put(half, bytes(6_000_000), 0, 12_000_000)
    fresh_id, fresh = tiktok.opened()
    sandbox.advance(100)
    sandbox.fault("tiktok", "init", "status", status=500)
    posts = sandbox.posts()
    assert sandbox.stop() == 0
    old = sandbox.base
    sandbox.start()
    try:
        assert sandbox.posts() == posts
        assert sandbox.control("GET", "/time")["offsetMs"] == 100_000
        assert sandbox.control("GET", "/limits")["tiktok"]["initPerMinute"] == 99
        tiktok = TikTokApp(sandbox, tiktok.account)
        instagram = InstagramApp(sandbox, instagram.account)
        assert tiktok.init().status_code == 500
        assert instagram.publish(container).status_code == 200
        # An upload cut off half-way is lost, and says so; one not begun goes on.
        assert tiktok.status(half_id)["fail_reason"] == "internal"
        assert tiktok.put(fresh.replace(old, sandbox.base)).status_code == 201
        assert tiktok.status(fresh_id)["uploaded_bytes"] == len(VIDEO)
        assert {post["sha256"] for post in sandbox.posts()} == {sha256(VIDEO)}
    finally:
        sandbox.stop()
    assert stat.S_IMODE((tmp_path / "state.db").stat().st_mode) == 0o600
    dump = "\n".join(sqlite3.connect(tmp_path / "state.db").iterdump())
    assert tiktok.account.access not in dump


def test_a_taken_port_is_one_clear_line(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Exit 1, the port named, no traceback."""
    import subprocess
    import sys

    port = sandbox.base.rpartition(":")[2]
    result = subprocess.run(
        [sys.executable, "-m", "minitik_dagster.local.sandbox", "--port", port,
         "--db", str(tmp_path / "x.db")],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert port in result.stderr


def test_the_page_shows_captions_as_text_and_needs_nothing_from_elsewhere(
    sandbox: SandboxProcess,
) -> None:
    """No caption can become markup, and no asset comes from another host."""
    page = sandbox.http.get(sandbox.base + "/").text
    assert "/_sandbox/posts" in page
    assert "innerHTML" not in page
    assert "insertAdjacentHTML" not in page
    assert not re.search(r"""(src|href)\s*=|https?://|@import|url\(""", page)


def test_an_address_that_does_not_exist_is_refused_in_the_platforms_envelope(
    sandbox: SandboxProcess,
) -> None:
    """A client that mistypes a path must not find a friendly sandbox."""
    base = sandbox.base
    assert sandbox.http.get(base + "/tiktok/v2/nothing/").json()["error"]["code"] != "ok"
    assert sandbox.http.get(base + "/youtube/youtube/v3/nothing").json()["error"]["code"] == 404
    assert sandbox.http.get(base + "/instagram-graph/v25.0/a/b/c").json()["error"]["code"] == 2500
    assert sandbox.http.get(base + "/_sandbox/nothing").status_code == 404
    assert sandbox.http.get(base + "/elsewhere").status_code == 404


def test_the_names_of_the_common_host_list_are_served(tmp_path: Path) -> None:
    """MINITIK_ALLOWED_HOSTS counts here as it does for the API and the web UI; others are refused."""
    environment = os.environ | {"MINITIK_ALLOWED_HOSTS": "sandbox.example.test"}
    program = [sys.executable, "-m", "minitik_dagster.local.sandbox", "--db", str(tmp_path / "db")]
    with subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            base = process.stdout.readline().split()[-1]
            for host, status in (("sandbox.example.test:80", 200), ("evil.example", 403)):
                answer = httpx2.get(f"{base}/_sandbox/posts", headers={"Host": host})
                assert answer.status_code == status, host
        finally:
            process.terminate()

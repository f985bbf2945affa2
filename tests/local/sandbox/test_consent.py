"""Connecting an account: consent page, code, tokens, as each platform does it."""

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

from .apps import InstagramApp
from .conftest import Account, SandboxProcess

BACK = "http://127.0.0.1:8000/api/accounts/callback/x"


def decide(
    sandbox: SandboxProcess, url: str, query: dict[str, str], **form: str
) -> tuple[dict[str, str], str]:
    """Press a button of the page; returns what the redirect carries, and its fragment."""
    page = sandbox.http.get(url, params=query)
    assert page.status_code == 200
    assert "Allow" in page.text
    answer = sandbox.http.post(url, params=query, data={"decision": "allow", **form})
    assert answer.status_code == 302
    target = urlsplit(answer.headers["location"])
    assert answer.headers["location"].startswith(BACK)
    return {k: v[0] for k, v in parse_qs(target.query).items()}, target.fragment


def test_tiktok_gives_a_code_that_works_once(sandbox: SandboxProcess) -> None:
    """client_key, state required, scope comma-separated; the redirect_uri must match."""
    url = sandbox.env["TIKTOK_AUTH_BASE_URL"] + "/v2/auth/authorize/"
    query = {"client_key": "k", "response_type": "code", "scope": "user.info.basic,video.publish",
             "redirect_uri": BACK, "state": "s1"}  # fmt: skip
    known = sandbox.account("tiktok")
    back, _ = decide(sandbox, url, query, account=known.id)
    assert (back["state"], back["scopes"]) == ("s1", "user.info.basic,video.publish")
    token_url = sandbox.env["TIKTOK_API_BASE_URL"] + "/v2/oauth/token/"
    form = {"client_key": "k", "client_secret": "s", "grant_type": "authorization_code",
            "code": back["code"], "redirect_uri": BACK + "/other"}  # fmt: skip
    assert sandbox.http.post(token_url, data=form).json()["error"] == "invalid_request"
    form["redirect_uri"] = BACK
    answer = sandbox.http.post(token_url, data=form).json()
    assert answer["open_id"] == known.id
    assert answer["scope"] == "user.info.basic,video.publish"
    assert sandbox.http.post(token_url, data=form).json()["error"] == "invalid_grant"
    headers = {"Authorization": "Bearer " + answer["access_token"]}
    info = sandbox.http.get(
        sandbox.env["TIKTOK_API_BASE_URL"] + "/v2/user/info/?fields=open_id,username",
        headers=headers,
    )
    assert info.json()["data"]["user"]["open_id"] == known.id
    assert sandbox.http.get(url, params={**query, "state": ""}).status_code == 400


def test_instagram_gives_short_then_long_lived_tokens(sandbox: SandboxProcess) -> None:
    """`#_` follows the redirect; the answer is wrapped in data, flat in the older variant."""
    url = sandbox.env["INSTAGRAM_AUTH_BASE_URL"] + "/oauth/authorize"
    query = {"client_id": "c", "response_type": "code", "redirect_uri": BACK, "state": "s",
             "scope": "instagram_business_basic,instagram_business_content_publish"}  # fmt: skip
    token_url = sandbox.env["INSTAGRAM_API_BASE_URL"] + "/oauth/access_token"
    form = {"client_id": "c", "client_secret": "s", "grant_type": "authorization_code",
            "redirect_uri": BACK}  # fmt: skip
    known = sandbox.account("instagram")
    back, fragment = decide(sandbox, url, query, account=known.id)
    assert fragment == "_"
    code = {"code": back["code"]}
    assert sandbox.http.post(token_url, json=form | code).status_code == 400
    [short] = sandbox.http.post(token_url, data=form | code).json()["data"]
    assert sandbox.http.post(token_url, data=form | code).status_code == 400
    exchange = {"grant_type": "ig_exchange_token", "client_secret": "s",
                "access_token": short["access_token"]}  # fmt: skip
    graph = sandbox.env["INSTAGRAM_GRAPH_BASE_URL"]
    long = sandbox.http.get(graph + "/access_token", params=exchange).json()
    assert long["expires_in"] == 5_184_000
    app = InstagramApp(sandbox, Account("instagram", known.id, long["access_token"], None))
    profile = app.get("me", fields="user_id").json()
    assert profile["user_id"] == known.id
    assert profile["id"] == str(short["user_id"])
    sandbox.limits("instagram", tokenAnswer="flat")
    back, _ = decide(sandbox, url, query)
    flat = sandbox.http.post(token_url, data={**form, "code": back["code"]}).json()
    assert "access_token" in flat


def test_google_checks_pkce_and_gives_a_refresh_token_on_consent(
    sandbox: SandboxProcess,
) -> None:
    """A refresh token comes with access_type=offline and prompt=consent only."""
    url = sandbox.env["GOOGLE_AUTH_BASE_URL"] + "/o/oauth2/v2/auth"
    verifier = "v" * 43
    digest = hashlib.sha256(verifier.encode()).digest()
    query = {
        "client_id": "c", "response_type": "code", "redirect_uri": BACK, "state": "s",
        "scope": "https://www.googleapis.com/auth/youtube", "access_type": "offline",
        "prompt": "consent", "code_challenge_method": "S256",
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
    }  # fmt: skip
    token_url = sandbox.env["GOOGLE_OAUTH_BASE_URL"] + "/token"
    form = {"client_id": "c", "client_secret": "s", "grant_type": "authorization_code",
            "redirect_uri": BACK}  # fmt: skip
    back, _ = decide(sandbox, url, query)
    code = {"code": back["code"]}
    wrong = sandbox.http.post(token_url, data=form | code | {"code_verifier": "w" * 43})
    assert wrong.json()["error"] == "invalid_grant"
    good = sandbox.http.post(token_url, data=form | code | {"code_verifier": verifier}).json()
    assert good["refresh_token"]
    del query["prompt"]
    back, _ = decide(sandbox, url, query)
    code = {"code": back["code"], "code_verifier": verifier}
    assert "refresh_token" not in sandbox.http.post(token_url, data=form | code).json()


def test_deny_sends_an_error_back(sandbox: SandboxProcess) -> None:
    """access_denied with the state, and no code."""
    url = sandbox.env["GOOGLE_AUTH_BASE_URL"] + "/o/oauth2/v2/auth"
    query = {"client_id": "c", "response_type": "code", "redirect_uri": BACK, "state": "s",
             "scope": "https://www.googleapis.com/auth/youtube"}  # fmt: skip
    back, _ = decide(sandbox, url, query, decision="deny")
    assert back == {"error": "access_denied", "state": "s"}


def test_a_code_expires(sandbox: SandboxProcess) -> None:
    """Google's after ten minutes here, the others' after an hour."""
    url = sandbox.env["GOOGLE_AUTH_BASE_URL"] + "/o/oauth2/v2/auth"
    query = {"client_id": "c", "response_type": "code", "redirect_uri": BACK, "state": "s",
             "scope": "https://www.googleapis.com/auth/youtube"}  # fmt: skip
    back, _ = decide(sandbox, url, query)
    sandbox.advance(601)
    form = {"client_id": "c", "client_secret": "s", "grant_type": "authorization_code",
            "redirect_uri": BACK, "code": back["code"]}  # fmt: skip
    answer = sandbox.http.post(sandbox.env["GOOGLE_OAUTH_BASE_URL"] + "/token", data=form)
    assert answer.json()["error"] == "invalid_grant"

"""A return from the consent page that connects nothing: each cause has its code and its fix."""

import httpx
import pytest

from minitik_dagster.db.types import Platform
from minitik_dagster.local.servers.sandbox import SandboxServer
from tests.api.connections.connecting import PLATFORMS, initiate, refused
from tests.api.consent import Return, decide, with_query
from tests.api.scene import Person, Scene


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_denied_permission_is_told_and_stores_nothing(
    api: httpx.Client, scene: Scene, person: Person, platform: Platform
) -> None:
    """access_denied; the state is spent with it."""
    back = decide(initiate(api, person, platform)["authorizationUrl"], decision="deny")
    refused(api.get(back.path), "access_denied")
    refused(api.get(back.path), "state_used")
    assert scene.rows("SELECT id FROM accounts") == []


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("another state", "state_unknown"),
        ("no state", "state_unknown"),
        ("another platform", "state_unknown"),
        ("too late", "state_expired"),
        ("no code", "code_missing"),
        ("another code", "code_unusable"),
        ("used code", "code_unusable"),
        ("another redirect", "wrong_redirect"),
        ("another secret", "app_refused"),
        ("less granted", "scopes_missing"),
    ],
)
def test_what_goes_wrong_on_the_way_back_is_told_with_a_fix(
    api: httpx.Client,
    scene: Scene,
    person: Person,
    sandbox: SandboxServer,
    platform: Platform,
    change: str,
    code: str,
) -> None:
    """Each has its code; none leaves an account, a code or a token anywhere."""
    url = initiate(api, person, platform)["authorizationUrl"]
    if change == "less granted":
        url = with_query(url, scope="other.scope")
    back = decide(url)
    path = back.path
    if change == "another state":
        path = back.altered(state="x" * 43)
    elif change == "no state":
        path = back.altered(state="")
    elif change == "another platform":
        other = "youtube" if platform is Platform.TIKTOK else "tiktok"
        path = path.replace(platform.value.lower(), other, 1)
    elif change == "too late":
        scene.run('UPDATE oauth_states SET "expiresAt" = "createdAt"')
    elif change == "no code":
        path = back.altered(code="")
    elif change == "another code":
        path = back.altered(code="made-up")
    elif change == "used code":
        first = decide(url)
        path = back.altered(code=_spent(api, scene, first, back))
    elif change == "another redirect":
        scene.run("UPDATE oauth_states SET \"redirectUri\" = 'https://other.example/callback'")
    elif change == "another secret":
        sandbox.set_limits(**{platform.value.lower(): {"clientSecret": "changed"}})
    if change != "used code":
        assert scene.rows("SELECT id FROM accounts") == []
    before = scene.fingerprint(but="oauth_states")
    answer = api.get(path)
    refused(answer, code)
    assert scene.fingerprint(but="oauth_states") == before
    for secret in (back.query["code"], back.query["state"]):
        assert secret not in answer.text


def _spent(api: httpx.Client, scene: Scene, first: Return, second: Return) -> str:
    """A code that has been turned into tokens; the state is made good again for the second."""
    assert api.get(first.path).status_code == 200
    scene.run('UPDATE oauth_states SET "consumedAt" = NULL')
    assert first.query["state"] == second.query["state"]
    return first.query["code"]


def test_a_platform_that_does_not_answer_is_502_and_the_flow_begins_anew(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """A code is sent once: it may have been taken."""
    back = decide(initiate(api, person, Platform.TIKTOK)["authorizationUrl"])
    sandbox.add_fault(platform="tiktok", operation="token", kind="drop-after", count=1)
    assert api.get(back.path).status_code == 502
    refused(api.get(back.path), "state_used")
    assert len([c for c in sandbox.calls() if c["operation"] == "token"]) == 1
    assert scene.rows("SELECT id FROM accounts") == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("access_denied", "access_denied"),
        ("admin_policy_enforced", "admin_forbids"),
        ("invalid_scope", "scope_not_offered"),
        ("unauthorized_client", "app_refused"),
        ("something_new", "platform_refused"),
    ],
)
def test_an_error_in_the_redirect_is_one_of_our_codes(
    api: httpx.Client, scene: Scene, person: Person, error: str, code: str
) -> None:
    """Google sends its own besides RFC 6749's; what is unknown is told in its words."""
    state = initiate(api, person, Platform.YOUTUBE)["state"]
    query = {"state": state, "error": error, "error_description": "in its own words"}
    answer = api.get("/api/accounts/callback/youtube", params=query)
    refused(answer, code)
    assert "in its own words" in answer.json()["detail"]
    assert scene.rows("SELECT id FROM accounts") == []


def test_an_error_that_may_pass_is_502(api: httpx.Client, person: Person) -> None:
    state = initiate(api, person, Platform.TIKTOK)["state"]
    query = {"state": state, "error": "temporarily_unavailable"}
    assert api.get("/api/accounts/callback/tiktok", params=query).status_code == 502


def test_a_google_account_without_a_channel_is_told_so(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """The tokens are good, but speak for nobody on YouTube."""
    back = decide(initiate(api, person, Platform.YOUTUBE)["authorizationUrl"])
    sandbox.add_fault(
        platform="youtube", operation="channel", kind="status", status=401,
        code="youtubeSignupRequired",
    )  # fmt: skip
    refused(api.get(back.path), "no_channel")
    assert scene.rows("SELECT id FROM accounts") == []

"""Connecting accounts end to end: our API, the sandbox's consent page, its token endpoints."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.platforms.oauth import REQUESTED_SCOPES
from minitik_dagster.settings import Settings
from tests.api.connections.connecting import (
    KEY,
    LIVES,
    PLATFORMS,
    connect,
    initiate,
    opened,
    sandbox_account,
)
from tests.api.consent import decide, with_query
from tests.api.scene import Person, Scene
from tests.api.server import serving


@pytest.mark.parametrize("platform", PLATFORMS)
def test_an_account_is_connected_by_its_platforms_consent_page(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer, platform: Platform
) -> None:
    """Tokens sealed, lifetimes and scopes from the answer, identity asked; everything works."""
    known = sandbox_account(sandbox, platform, username="creator_one")
    got = connect(api, person, platform, known)
    account = got["account"]
    assert (got["created"], got["heldPosts"]) == (True, {"count": 0, "tooLate": []})
    assert (account["platformAccountId"], account["status"]) == (known, "CONNECTED")
    assert account["username"]
    assert set(account["scopes"]) == set(REQUESTED_SCOPES[platform])
    assert account["capabilities"]["publish"]
    assert account["capabilities"]["metrics"]
    assert account["capabilities"]["missingScopes"] == {}
    assert set(account["capabilities"]["reasons"]) == (
        set() if platform is Platform.YOUTUBE else {"delete"}
    )
    row = opened(scene, account["id"])
    assert row["userId"] == person.id
    assert row["tokenVersion"] == 1
    assert row["tokenExpiresAt"] - row["tokenIssuedAt"] == timedelta(seconds=LIVES[platform.value])
    assert bool(row["refreshToken"]) is (platform is not Platform.INSTAGRAM)
    assert bool(row["refreshTokenExpiresAt"]) is (platform is Platform.TIKTOK)
    listed = api.get("/api/accounts", headers=person.headers).json()["accounts"]
    assert listed == [account]
    # The stored token speaks for the account, for longer than a minute (Instagram's is the long one).
    calls = [c for c in sandbox.calls() if c["operation"] in {"profile", "channel"}]
    assert calls[-1]["account"] == known


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_consent_url_is_the_platforms_own_form(
    api: httpx.Client, scene: Scene, person: Person, settings: Settings, platform: Platform
) -> None:
    """client_key and commas at TikTok, PKCE at Google only; nothing of it is stored in plain."""
    begun = initiate(api, person, platform)
    query = {k: v[0] for k, v in parse_qs(urlsplit(begun["authorizationUrl"]).query).items()}
    separator = " " if platform is Platform.YOUTUBE else ","
    assert query["scope"] == separator.join(REQUESTED_SCOPES[platform])
    assert query["redirect_uri"] == (
        f"{settings.nextauth_url}/api/accounts/callback/{platform.value.lower()}"
    )
    assert (query["response_type"], query["state"]) == ("code", begun["state"])
    assert ("client_key" in query, "client_id" in query) == (
        platform is Platform.TIKTOK,
        platform is not Platform.TIKTOK,
    )
    pkce = platform is Platform.YOUTUBE
    assert query.get("code_challenge_method") == ("S256" if pkce else None)
    assert query.get("access_type") == ("offline" if pkce else None)
    assert query.get("prompt") == ("consent" if pkce else None)
    [row] = scene.rows("SELECT * FROM oauth_states")
    assert begun["state"] not in str(row)
    assert bool(row["codeVerifier"]) is pkce
    assert row["expiresAt"] - row["createdAt"] == timedelta(minutes=10)
    assert (row["userId"], row["sessionHash"]) == (person.id, None)
    if pkce:
        verifier = Vault([bytes.fromhex(KEY)]).open(row["codeVerifier"])
        assert 43 <= len(verifier) <= 128
        assert verifier not in begun["authorizationUrl"]
    assert scene.rows("SELECT id FROM accounts") == []


@pytest.mark.parametrize("form", ["data", "flat"])
def test_instagrams_answer_is_read_in_both_forms_and_its_tail_is_cut(
    api: httpx.Client, person: Person, sandbox: SandboxServer, form: str
) -> None:
    """A program that copies the whole address sends `#_` behind the code."""
    sandbox.set_limits(instagram={"tokenAnswer": form})
    back = decide(initiate(api, person, Platform.INSTAGRAM)["authorizationUrl"])
    assert back.url.endswith("#_")
    answer = api.get(back.altered(code=back.query["code"] + "#_"))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_permission_that_was_not_granted_is_named_with_what_it_is_for(
    api: httpx.Client, person: Person, platform: Platform
) -> None:
    """The account is connected; it shows what works and why not."""
    scopes = REQUESTED_SCOPES[platform]
    less = scopes[1] if platform is Platform.YOUTUBE else scopes[0]
    url = with_query(initiate(api, person, platform)["authorizationUrl"], scope=less)
    able = api.get(decide(url).path).json()["account"]["capabilities"]
    assert not able["publish"]
    lacking = able["missingScopes"]["publish"]
    assert lacking == [scopes[0] if platform is Platform.YOUTUBE else scopes[1]]
    assert lacking[0] in able["reasons"]["publish"]
    assert able["metrics"] is (platform is Platform.YOUTUBE)


def test_what_is_not_yours_or_not_so_is_refused_before_anything_begins(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """404 for another's account, 400 for another platform's, 403 without the scope."""
    theirs = scene.account(scene.person(), Platform.TIKTOK)
    mine = scene.account(person, Platform.TIKTOK)
    reader = scene.person("accounts:read")

    def status(body: dict[str, Any], who: Person = person) -> int:
        return api.post("/api/accounts/initiate", json=body, headers=who.headers).status_code

    assert status({"provider": "tiktok", "accountId": theirs}) == 404
    assert status({"provider": "youtube", "accountId": mine}) == 400
    assert status({"provider": "myspace"}) == 400
    assert status({"provider": "tiktok"}, reader) == 403
    assert scene.rows("SELECT id FROM oauth_states") == []
    for path in (f"/api/accounts/{theirs}/release", "/api/accounts/nobody/release"):
        assert api.post(path, headers=person.headers).status_code == 404
    body = {"defaultPrivacy": "SELF_ONLY"}
    assert (
        api.patch(f"/api/accounts/{theirs}", json=body, headers=person.headers).status_code == 404
    )


@pytest.mark.parametrize("platform", PLATFORMS)
def test_no_code_state_verifier_or_token_is_told_or_stored_in_plain(
    api: httpx.Client,
    scene: Scene,
    person: Person,
    capfd: pytest.CaptureFixture[str],
    platform: Platform,
) -> None:
    """Every table, both answers and everything that was logged are searched."""
    begun = initiate(api, person, platform)
    vault = Vault([bytes.fromhex(KEY)])
    [flow] = scene.rows("SELECT * FROM oauth_states")
    back = decide(begun["authorizationUrl"])
    answer = api.get(back.path)
    again = api.get(back.path)
    [account] = scene.rows("SELECT id FROM accounts")
    row = opened(scene, account["id"])
    secrets = [back.query["code"], begun["state"], row["accessToken"], row["refreshToken"]]
    secrets.append(vault.open(flow["codeVerifier"]) if flow["codeVerifier"] else None)
    tables = scene.rows(
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    stored = "".join(
        str(scene.rows(f'SELECT CAST(t AS text) FROM "{table["name"]}" t'))  # noqa: S608 - our own names
        for table in tables
    )
    logged = "".join(capfd.readouterr())
    assert account["id"] in stored
    for secret in filter(None, secrets):
        for where in (stored, answer.text, again.text, logged):
            assert secret not in where


def test_a_default_privacy_is_one_that_tiktok_offers_the_creator_now(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """A private account may not choose the public; the refusal lists what it may."""
    known = sandbox_account(sandbox, Platform.TIKTOK, private=True)
    mine = connect(api, person, Platform.TIKTOK, known)["account"]
    assert mine["defaultPrivacy"] is None

    def choose(privacy: str, account: str = mine["id"]) -> httpx.Response:
        return api.patch(
            f"/api/accounts/{account}", json={"defaultPrivacy": privacy}, headers=person.headers
        )

    public = choose("PUBLIC_TO_EVERYONE")
    assert public.status_code == 422
    assert "SELF_ONLY" in public.json()["errors"][0]["fix"]
    assert choose("SELF_ONLY").json()["defaultPrivacy"] == "SELF_ONLY"
    assert set(opened(scene, mine["id"])["metadata"]["scopes"]) == set(mine["scopes"])
    assert choose("EVERYBODY").status_code == 400
    scene.run(
        'UPDATE accounts SET "accessToken" = :sealed WHERE id = :id',
        sealed=Vault([bytes.fromhex(KEY)]).seal("act.worn-out"),
        id=mine["id"],
    )
    worn = choose("SELF_ONLY")
    assert (worn.status_code, worn.json()["state"]) == (409, "token_expired")
    youtube = scene.account(person, Platform.YOUTUBE)
    assert choose("SELF_ONLY", youtube).status_code == 400
    closed = scene.account(person, Platform.TIKTOK, status=AccountStatus.EXPIRED)
    assert (choose("SELF_ONLY", closed).status_code) == 409


def test_connecting_without_our_apps_credentials_names_the_variables(
    settings: Settings, scene: Scene, person: Person
) -> None:
    """503; and without a key nothing is begun that could not be stored."""
    for change, name in (({"tiktok_client_id": None}, "TIKTOK_CLIENT_ID"),
                         ({"encryption_key": None}, "ENCRYPTION_KEY")):  # fmt: skip
        with serving(settings.model_copy(update=change)) as api:
            answer = api.post(
                "/api/accounts/initiate", json={"provider": "tiktok"}, headers=person.headers
            )
        assert answer.status_code == 503
        assert name in answer.json()["detail"]
    assert scene.rows("SELECT id FROM oauth_states") == []

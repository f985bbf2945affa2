"""Connecting accounts end to end: our API, the sandbox's consent page, its token endpoints."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy.orm import Session

from minitik_dagster.accounts.oauth_flow import begin
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.types import AccountStatus, Platform, SubscriptionTier
from minitik_dagster.ids import new_id
from minitik_dagster.local.ports import free_port
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.platforms.oauth import REQUESTED_SCOPES
from minitik_dagster.settings import Settings
from tests.api.browsing import sign_in
from tests.api.consent import Return, decide, with_query
from tests.api.scene import Person, Scene
from tests.api.server import serving

KEY = "ab" * 32
PLATFORMS = list(Platform)
VECTORS = Path(__file__).parents[1] / "data" / "token_vectors.json"
LEGACY: dict[str, str] = json.loads(VECTORS.read_text())["valid"][0]
LIVES = {"TIKTOK": 7_200, "INSTAGRAM": 5_184_000, "YOUTUBE": 3_600}


@pytest.fixture
def port() -> int:
    """Where the API will stand: its own address is in what it registers at the platforms."""
    return free_port()


@pytest.fixture
def settings(
    database_url: str, sandbox: SandboxServer, port: int, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The platforms are the sandbox; there is no Redis."""
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    return Settings(
        database_url=SecretStr(database_url),
        encryption_key=SecretStr(KEY),
        # The key under which an adopted database's tokens are sealed.
        encryption_key_previous=SecretStr(LEGACY["key"]),
        nextauth_url=f"http://127.0.0.1:{port}",
    )


@pytest.fixture
def api(settings: Settings, port: int) -> Iterator[httpx.Client]:
    """The API under uvicorn."""
    with serving(settings, port) as client:
        yield client


def initiate(api: httpx.Client, person: Person, platform: Platform, **body: str) -> dict[str, Any]:
    answer = api.post(
        "/api/accounts/initiate",
        json={"provider": platform.value.lower(), **body},
        headers=person.headers,
    )
    assert answer.status_code == 200, answer.text
    return cast("dict[str, Any]", answer.json())


def connect(
    api: httpx.Client, person: Person, platform: Platform, account: str = "", **body: str
) -> dict[str, Any]:
    back = decide(initiate(api, person, platform, **body)["authorizationUrl"], account=account)
    answer = api.get(back.path)
    assert answer.status_code == 200, answer.text
    return cast("dict[str, Any]", answer.json())


def sandbox_account(sandbox: SandboxServer, platform: Platform, **details: object) -> str:
    made = sandbox.create_account(platform.value.lower(), **details)
    return cast("str", made["platformAccountId"])


def opened(scene: Scene, account_id: str) -> dict[str, Any]:
    """An account's row with its tokens in plain text."""
    [row] = scene.rows("SELECT * FROM accounts WHERE id = :id", id=account_id)
    vault = Vault([bytes.fromhex(KEY), bytes.fromhex(LEGACY["key"])])
    for name in ("accessToken", "refreshToken"):
        row[name] = vault.open(row[name]) if row[name] else row[name]
    return row


def refused(answer: httpx.Response, code: str) -> None:
    """The answer is a problem of this code that says what to do."""
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem = answer.json()
    assert problem["code"] == code
    assert problem["type"] == "/problems/not-connected"
    assert problem["errors"][0]["fix"]


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
def test_connecting_the_same_account_again_updates_its_one_row(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer, platform: Platform
) -> None:
    """Id, first connection and choices stay; tokens are new and the version rises."""
    known = sandbox_account(sandbox, platform)
    first = connect(api, person, platform, known)["account"]["id"]
    scene.run(
        "UPDATE accounts SET status = 'EXPIRED', \"refreshFailures\" = 3, metadata = metadata || "
        '\'{"tiktok": {"defaultPrivacy": "SELF_ONLY"}}\' WHERE id = :id',
        id=first,
    )
    before = opened(scene, first)
    again = connect(api, person, platform, known, accountId=first)
    assert (again["created"], again["account"]["id"]) == (False, first)
    assert again["account"]["probeOutcome"] == "ok", "it was just asked whose account it is"
    assert again["account"]["lastSyncAt"] == again["account"]["probedAt"] is not None
    after = opened(scene, first)
    assert after["accessToken"] != before["accessToken"]
    assert (after["tokenVersion"], after["status"]) == (2, "CONNECTED")
    assert after["refreshFailures"] == 0
    assert after["connectedAt"] == before["connectedAt"]
    assert again["account"]["defaultPrivacy"] == "SELF_ONLY"
    assert len(scene.rows("SELECT id FROM accounts")) == 1


def test_google_without_a_refresh_token_keeps_the_old_one_or_is_refused(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """Never an empty one over a token; an account that could not be renewed is not connected."""
    known = sandbox_account(sandbox, Platform.YOUTUBE)

    def without_consent() -> httpx.Response:
        url = initiate(api, person, Platform.YOUTUBE)["authorizationUrl"]
        return api.get(decide(with_query(url, prompt=None), account=known).path)

    refused(without_consent(), "no_refresh_token")
    assert scene.rows("SELECT id FROM accounts") == []
    account = connect(api, person, Platform.YOUTUBE, known)["account"]["id"]
    before = opened(scene, account)
    assert without_consent().status_code == 200
    after = opened(scene, account)
    assert after["refreshToken"] == before["refreshToken"]
    assert after["accessToken"] != before["accessToken"]
    scene.run("UPDATE accounts SET status = 'EXPIRED'")
    refused(without_consent(), "no_refresh_token")


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


def test_a_browser_reads_of_a_full_tier_and_of_a_silent_platform_as_well(
    api: httpx.Client, scene: Scene, settings: Settings, sandbox: SandboxServer
) -> None:
    """303 for these too: nobody is left with JSON in a browser."""
    person = scene.person(tier=SubscriptionTier.FREE)
    first, second = flows(scene, settings, person, Platform.TIKTOK, 2)
    html = {"Accept": "text/html"}
    sandbox.add_fault(platform="tiktok", operation="token", kind="status", status=503)
    silent = api.get(decide(first).path, headers=html)
    assert "TikTok did not answer" in api.get(silent.headers["location"]).text
    for _ in range(5):
        scene.account(person)
    full = api.get(decide(second).path, headers=html)
    assert "no place for another account" in api.get(full.headers["location"]).text
    assert len(scene.rows("SELECT id FROM accounts")) == 5


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


def test_a_browser_is_sent_to_a_page_that_says_the_same(
    api: httpx.Client, person: Person, settings: Settings
) -> None:
    """303 and no-store; nothing of the query but our own words gets onto the page."""
    html = {"Accept": "text/html,*/*"}
    back = decide(initiate(api, person, Platform.YOUTUBE)["authorizationUrl"])
    done = api.get(back.path, headers=html)
    assert done.status_code == 303
    assert done.headers["cache-control"] == "no-store"
    assert done.headers["location"].startswith(
        f"{settings.nextauth_url}/connected?connected=youtube"
    )
    assert back.query["code"] not in done.headers["location"]
    assert "YouTube is connected" in api.get(done.headers["location"]).text
    again = api.get(back.path, headers=html)
    assert again.status_code == 303
    page = api.get(again.headers["location"])
    assert "has been finished before" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    planted = api.get(
        "/connected",
        params={"connected": "tiktok", "account": '"><script>', "held": "3", "refused": "<script>"},
    )
    assert "<script>" not in planted.text


def test_a_flow_of_a_browser_session_ends_in_the_same_one(
    api: httpx.Client, scene: Scene, settings: Settings, person: Person
) -> None:
    """A link that was passed on to somebody else connects nothing, and spends nothing."""
    with Session(scene.engine) as session, session.begin():
        url = begin(
            session,
            settings,
            person.id,
            Platform.TIKTOK,
            session_hash=hashlib.sha256(b"the-cookie").hexdigest(),
        ).authorization_url
    back = decide(url)
    refused(api.get(back.path), "other_browser")
    refused(api.get(back.path, headers={"Cookie": "minitik_session=another"}), "other_browser")
    done = api.get(back.path, headers={"Cookie": "minitik_session=the-cookie"})
    assert done.status_code == 200


def test_a_flow_that_a_signed_in_person_began_ends_in_their_own_session_only(
    api: httpx.Client, scene: Scene, settings: Settings, person: Person
) -> None:
    """The cookie of signing in: another person's session and another session of the same are refused."""
    mine = sign_in(scene, person.id) | {"Origin": settings.nextauth_url}
    begun = api.post("/api/accounts/initiate", json={"provider": "tiktok"}, headers=mine)
    back = decide(begun.json()["authorizationUrl"])
    for other in (sign_in(scene, scene.person().id), sign_in(scene, person.id), person.headers):
        refused(api.get(back.path, headers=other), "other_browser")
    assert scene.rows("SELECT 1 FROM accounts") == []
    done = api.get(back.path, headers={"Cookie": mine["Cookie"]})
    assert done.status_code == 200, done.text
    assert [row["userId"] for row in scene.rows('SELECT "userId" FROM accounts')] == [person.id]


def test_five_attempts_a_minute_and_user_without_any_redis(api: httpx.Client, scene: Scene) -> None:
    """The sixth is told how long to wait; another user is not concerned."""
    eager, calm = scene.person(), scene.person()
    scene.run(
        "INSERT INTO attempts (kind, client, \"windowStart\", used) VALUES ('connect', :id, "
        "date_bin('1 minute', statement_timestamp() AT TIME ZONE 'UTC', TIMESTAMP '2000-01-01'), 5)"
        ", ('connect', :id, date_bin('1 minute', statement_timestamp() AT TIME ZONE 'UTC', "
        "TIMESTAMP '2000-01-01') + interval '1 minute', 5)",
        id=eager.id,
    )
    answer = api.post("/api/accounts/initiate", json={"provider": "tiktok"}, headers=eager.headers)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.json()["type"] == "/problems/throttled"
    initiate(api, calm, Platform.TIKTOK)


def test_a_hundred_returns_with_one_state_have_one_winner(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """The code is sent to the platform once."""
    back = decide(initiate(api, person, Platform.TIKTOK)["authorizationUrl"])
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: api.get(back.path), range(100)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(422)) == (1, 99)
    for answer in answers:
        if answer.status_code == 422:
            refused(answer, "state_used")
    assert len([c for c in sandbox.calls() if c["operation"] == "token"]) == 1
    assert len(scene.rows("SELECT id FROM accounts")) == 1


def flows(
    scene: Scene, settings: Settings, person: Person, platform: Platform, n: int
) -> list[str]:
    """Flows begun at once; not by HTTP, where five a minute are allowed."""
    with Session(scene.engine) as session, session.begin():
        return [begin(session, settings, person.id, platform).authorization_url for _ in range(n)]


def test_two_returns_at_once_for_one_account_make_one_row(
    api: httpx.Client, scene: Scene, settings: Settings, person: Person, sandbox: SandboxServer
) -> None:
    """Both succeed; the version tells that both tokens were stored, one after the other."""
    known = sandbox_account(sandbox, Platform.YOUTUBE)
    urls = flows(scene, settings, person, Platform.YOUTUBE, 6)
    backs = [decide(url, account=known) for url in urls]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda back: api.get(back.path), backs))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert sum(answer.json()["created"] for answer in answers) == 1
    [row] = scene.rows('SELECT "tokenVersion" FROM accounts')
    assert row["tokenVersion"] == 6


def test_the_limit_of_a_tier_holds_when_all_return_at_once(
    api: httpx.Client, scene: Scene, settings: Settings
) -> None:
    """FREE has five places: with three taken, two of eight get one."""
    person = scene.person(tier=SubscriptionTier.FREE)
    for _ in range(3):
        scene.account(person, Platform.INSTAGRAM)
    backs = [decide(url) for url in flows(scene, settings, person, Platform.YOUTUBE, 8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda back: api.get(back.path), backs))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(422)) == (2, 6)
    for answer in answers:
        if answer.status_code == 422:
            assert "limit of tier FREE is 5" in answer.json()["detail"]
    assert len(scene.rows("SELECT id FROM accounts")) == 5


def test_a_full_tier_may_reconnect_and_a_disconnected_account_takes_no_place(
    api: httpx.Client, scene: Scene, sandbox: SandboxServer
) -> None:
    """Connecting an existing one again is no new one, unless it had been disconnected."""
    person = scene.person(tier=SubscriptionTier.FREE)
    known = sandbox_account(sandbox, Platform.TIKTOK)
    mine = connect(api, person, Platform.TIKTOK, known)["account"]["id"]
    others = [scene.account(person, Platform.INSTAGRAM) for _ in range(4)]
    body = {"provider": "tiktok"}
    full = api.post("/api/accounts/initiate", json=body, headers=person.headers)
    assert full.status_code == 422
    assert "accountId" in full.json()["errors"][0]["fix"]
    assert not connect(api, person, Platform.TIKTOK, known, accountId=mine)["created"]
    scene.run(
        'UPDATE accounts SET "disconnectedAt" = "connectedAt", status = \'REVOKED\' WHERE id = :id',
        id=others[0],
    )
    initiate(api, person, Platform.TIKTOK)
    scene.run('UPDATE accounts SET "disconnectedAt" = NULL WHERE id = :id', id=others[0])
    scene.run('UPDATE accounts SET "disconnectedAt" = "connectedAt" WHERE id = :id', id=mine)
    scene.account(person, Platform.INSTAGRAM)
    back = api.post(
        "/api/accounts/initiate", json={**body, "accountId": mine}, headers=person.headers
    )
    assert back.status_code == 422


def test_another_account_than_the_one_to_reconnect_is_refused(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """Neither the named account nor the chosen one is touched."""
    known, other = (sandbox_account(sandbox, Platform.TIKTOK) for _ in range(2))
    mine = connect(api, person, Platform.TIKTOK, known)["account"]["id"]
    url = initiate(api, person, Platform.TIKTOK, accountId=mine)["authorizationUrl"]
    back = decide(url, account=other)
    before = scene.fingerprint(but="oauth_states")
    refused(api.get(back.path), "other_account")
    assert scene.fingerprint(but="oauth_states") == before


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


def test_an_adopted_account_reconnects_with_its_id_history_and_held_posts(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """A row of the old system, its token long dead: one row, and its posts are offered."""
    known = sandbox_account(sandbox, Platform.TIKTOK)
    legacy = new_id()
    scene.run(
        'INSERT INTO accounts (id, "userId", platform, "platformAccountId", "accessToken", '
        '"refreshToken", status, "connectedAt", "disconnectedAt") VALUES (:id, :user, \'TIKTOK\', '
        ":known, '', NULL, 'REVOKED', '2024-02-03 04:05:06', '2025-01-01')",
        id=legacy,
        user=person.id,
        known=known,
    )
    now = datetime.now(UTC).replace(tzinfo=None)
    early, late = new_id(), new_id()
    for post, due in ((early, now + timedelta(hours=1)), (late, now - timedelta(days=3))):
        scene.run(
            'INSERT INTO publications (id, "contentId", "accountId", platform, status, stage, '
            '"dueAt", "leaseToken", "holdReason", "createdAt", "updatedAt") VALUES (:id, :content, '
            ":account, 'TIKTOK', 'QUEUED', 'held', :due, 1, 'account', :now, :now)",
            id=post,
            content=scene.content(person),
            account=legacy,
            due=due,
            now=now,
        )
    waiting = api.post(f"/api/accounts/{legacy}/release", headers=person.headers)
    assert (waiting.status_code, waiting.json()["state"]) == (409, "REVOKED")
    [before] = api.get("/api/accounts", headers=person.headers).json()["accounts"]
    assert "disconnected" in before["capabilities"]["reasons"]["publish"]
    got = connect(api, person, Platform.TIKTOK, known)
    assert (got["created"], got["account"]["id"]) == (False, legacy)
    assert got["heldPosts"]["count"] == 2
    assert [post["id"] for post in got["heldPosts"]["tooLate"]] == [late]
    row = opened(scene, legacy)
    assert (row["disconnectedAt"], row["tokenVersion"]) == (None, 1)
    assert row["connectedAt"] == datetime(2024, 2, 3, 4, 5, 6)  # noqa: DTZ001 - as the column holds it
    assert row["accessToken"]
    assert row["refreshToken"]
    released = api.post(f"/api/accounts/{legacy}/release", headers=person.headers)
    assert released.json() == {"released": [early], "tooLate": [late]}
    stages = scene.rows("SELECT id, stage FROM publications")
    assert {r["id"]: r["stage"] for r in stages} == {early: "scheduled", late: "held"}


def test_an_adopted_refresh_token_stays_as_it_was_sealed_when_the_answer_has_none(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """A row of the old system, sealed under an older key: the new access token stands beside it."""
    known = sandbox_account(sandbox, Platform.YOUTUBE)
    legacy = new_id()
    scene.run(
        'INSERT INTO accounts (id, "userId", platform, "platformAccountId", "accessToken", '
        '"refreshToken", status, "connectedAt", metadata) VALUES (:id, :user, \'YOUTUBE\', :known, '
        ":stored, :stored, 'CONNECTED', '2024-02-03', '[]')",
        id=legacy,
        user=person.id,
        known=known,
        stored=LEGACY["stored"],
    )
    url = initiate(api, person, Platform.YOUTUBE, accountId=legacy)["authorizationUrl"]
    answer = api.get(decide(with_query(url, prompt=None), account=known).path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["account"]["id"] == legacy
    row = opened(scene, legacy)
    assert row["refreshToken"] == LEGACY["plaintext"]
    assert row["accessToken"] != LEGACY["plaintext"]
    assert row["metadata"]["scopes"]


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

"""People sign in by a link, stay signed in by a cookie, and sign out, here or everywhere."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from minitik_dagster.accounts.sessions import hash_token
from minitik_dagster.settings import Settings
from tests.api.browsing import OWN_ORIGIN, Mailbox, ask, sign_in, wait_until_sent
from tests.api.conftest import ADMIN_EMAIL
from tests.api.scene import Person, Scene
from tests.api.server import serving


@pytest.fixture
def mailbox(capsys: pytest.CaptureFixture[str]) -> Mailbox:
    """What is printed as mail; the database is stamped `sandbox`."""
    return Mailbox(capsys)


def test_a_link_signs_in_once_and_is_kept_as_a_hash(
    mailbox: Mailbox, api: httpx.Client, scene: Scene
) -> None:
    """The link's page changes nothing; the button's POST sets the cookie; a second one is refused."""
    person = scene.person(email="ada@example.test", verified=False)
    assert ask(api, "Ada@Example.test ").status_code == 202
    [token] = mailbox.tokens()
    wait_until_sent(scene, 1)
    for table in ("outbox", "verification_tokens", "attempts"):
        assert token not in str(scene.rows(f"SELECT t::text AS row FROM {table} t"))  # noqa: S608 - a constant
    page = api.get("/auth/verify", params={"token": token})
    assert page.status_code == 200
    assert len(scene.rows("SELECT 1 FROM verification_tokens")) == 1
    done = api.post("/api/auth/verify", json={"token": token})
    assert done.status_code == 200, done.text
    assert done.json()["userId"] == person.id
    cookie = done.headers["set-cookie"]
    assert cookie.startswith("minitik_session=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    [row] = scene.rows("SELECT * FROM sessions")
    assert row["sessionToken"] == hash_token(done.cookies["minitik_session"])
    assert api.get("/api/accounts").status_code == 200  # the client keeps the cookie
    [user] = scene.rows('SELECT "emailVerified" AS verified FROM users')
    assert user["verified"] is not None
    again = api.post("/api/auth/verify", json={"token": token})
    assert again.status_code == 400
    assert again.json()["errors"][0]["field"] == "token"


def test_fifty_at_once_with_one_token_make_one_session(
    mailbox: Mailbox, api: httpx.Client, scene: Scene, person: Person
) -> None:
    ask(api, f"{person.id}@example.test")
    [token] = mailbox.tokens()
    with ThreadPoolExecutor(50) as pool:
        answers = list(
            pool.map(lambda _: api.post("/api/auth/verify", json={"token": token}), range(50))
        )
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] + [400] * 49
    assert len(scene.rows("SELECT 1 FROM sessions")) == 1


def test_a_stranger_gets_the_same_answer_and_no_mail(
    mailbox: Mailbox, api: httpx.Client, scene: Scene, person: Person
) -> None:
    """Sign-up is closed: rows and answer are the same, only the sender knows the difference."""
    known = ask(api, f"{person.id}@example.test")
    unknown = ask(api, "stranger@example.test")
    assert (known.status_code, known.json()) == (unknown.status_code, unknown.json())
    wait_until_sent(scene, 2)
    assert "stranger" not in mailbox.text()
    assert len(mailbox.tokens()) == 1
    notes = {row["error"] for row in scene.rows("SELECT error FROM outbox")}
    assert notes == {"printed", "nobody to send it to"}
    assert "stranger" not in str(scene.rows("SELECT payload FROM outbox"))


def test_with_open_sign_up_a_stranger_becomes_a_user(
    mailbox: Mailbox, settings: Settings, scene: Scene
) -> None:
    with serving(settings.model_copy(update={"signup": "open"})) as api:
        ask(api, "new@example.test")
        [token] = mailbox.tokens()
        assert api.post("/api/auth/verify", json={"token": token}).status_code == 200
    [user] = scene.rows("SELECT * FROM users")
    assert (user["email"], user["subscriptionTier"]) == ("new@example.test", "FREE")
    assert user["emailVerified"] is not None


def test_an_expired_link_is_refused(
    mailbox: Mailbox, api: httpx.Client, scene: Scene, person: Person
) -> None:
    ask(api, f"{person.id}@example.test")
    [token] = mailbox.tokens()
    scene.run("UPDATE verification_tokens SET expires = expires - interval '15 minutes 1 second'")
    assert api.post("/api/auth/verify", json={"token": token}).status_code == 400
    assert scene.rows("SELECT 1 FROM sessions") == []


def test_too_many_asks_are_429_and_say_how_long(api: httpx.Client, scene: Scene) -> None:
    """Counted in PostgreSQL; a made-up X-Forwarded-For makes nobody another client."""
    answers = [
        api.post(
            "/api/auth/magic-link",
            json={"email": f"{number}@example.test"},
            headers={"X-Forwarded-For": f"203.0.113.{number}"},
        )
        for number in range(11)
    ]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused, [answer.status_code for answer in answers]
    assert 1 <= int(refused[0].headers["retry-after"]) <= 60
    assert refused[0].json()["type"] == "/problems/throttled"
    assert {
        row["client"] for row in scene.rows("SELECT * FROM attempts WHERE kind LIKE '%link'")
    } == {"127.0.0.1"}


def test_one_mailbox_is_not_filled_from_many_places(settings: Settings, scene: Scene) -> None:
    """Behind a trusted proxy clients are told apart; the address has a limit of its own."""
    with serving(settings.model_copy(update={"trusted_proxies": "127.0.0.0/8"})) as api:
        codes = [
            api.post(
                "/api/auth/magic-link",
                json={"email": "one@example.test"},
                headers={"X-Forwarded-For": f"203.0.113.{number}"},
            ).status_code
            for number in range(12)
        ]
    assert set(codes) == {202, 429}
    clients = {
        row["client"] for row in scene.rows("SELECT * FROM attempts WHERE kind LIKE '%link'")
    }
    assert len(clients) == 12


def test_a_session_may_what_its_person_may(api: httpx.Client, scene: Scene) -> None:
    """All scopes of a user; admin while the verified address stands in ADMIN_EMAILS."""
    person, admin = scene.person("content:read"), scene.person("content:read", email=ADMIN_EMAIL)
    mine, theirs = sign_in(scene, person.id), sign_in(scene, admin.id)
    assert api.get("/api/scheduling", headers=mine).status_code == 200
    assert api.get("/api/scheduling/stats", headers=mine).status_code == 403
    assert api.get("/api/scheduling/stats", headers=theirs).status_code == 200
    scene.run('UPDATE users SET "emailVerified" = NULL')
    assert api.get("/api/scheduling/stats", headers=theirs).status_code == 403


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1:8001"])
def test_a_session_changes_nothing_from_another_origin(
    api: httpx.Client, scene: Scene, person: Person, origin: str | None
) -> None:
    browser = sign_in(scene, person.id)
    headers = browser | ({"Origin": origin} if origin else {})
    before = scene.fingerprint()
    answer = api.post("/api/keys", json={"name": "stolen"}, headers=headers)
    assert answer.status_code == 403
    assert "NEXTAUTH_URL" in answer.json()["detail"]
    assert scene.fingerprint() == before
    assert scene.rows("SELECT 1 FROM api_keys WHERE name = 'stolen'") == []
    assert api.get("/api/keys", headers=headers).status_code == 200
    own = api.post("/api/keys", json={"name": "mine"}, headers=browser | OWN_ORIGIN)
    assert own.status_code == 201


@pytest.mark.parametrize("path", ["/api/auth/magic-link", "/api/auth/verify"])
def test_another_sites_page_cannot_sign_a_person_in(
    api: httpx.Client, scene: Scene, path: str
) -> None:
    """Not with JSON, and not with a form, which always has an Origin in a browser."""
    body = {"email": "a@example.test", "token": "x"}
    foreign = {"Origin": "https://evil.example"}
    one = {"email": body["email"]} if "link" in path else {"token": body["token"]}
    assert api.post(path, json=one, headers=foreign).status_code == 403
    assert api.post(path, data=one, headers=foreign).status_code == 403
    assert api.post(path, data=one).status_code == 403
    assert scene.rows("SELECT 1 FROM verification_tokens") == []


def test_signing_out_ends_one_session_or_all(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    here, there, elsewhere = (sign_in(scene, person.id) for _ in range(3))
    other = scene.person()
    stays = sign_in(scene, other.id)
    done = api.post("/api/auth/signout", headers=here | OWN_ORIGIN)
    assert done.status_code == 204
    assert 'minitik_session=""' in done.headers["set-cookie"]
    assert api.get("/api/accounts", headers=here).status_code == 401
    assert api.get("/api/accounts", headers=there).status_code == 200
    body = {"everywhere": True}
    assert api.post("/api/auth/signout", json=body, headers=there | OWN_ORIGIN).status_code == 204
    for ended in (there, elsewhere):
        assert api.get("/api/accounts", headers=ended).status_code == 401
    assert api.get("/api/accounts", headers=stays).status_code == 200
    assert api.post("/api/auth/signout", headers=person.headers).status_code == 403


def test_a_session_of_the_old_system_is_none_here(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """Its token lies there in plain text; nor does a stored hash open anything."""
    scene.run(
        'INSERT INTO sessions (id, "sessionToken", "userId", expires) '
        "VALUES ('s1', 'old-plain-token', :user, now() + interval '30 days')",
        user=person.id,
    )
    sign_in(scene, person.id)
    for row in scene.rows('SELECT "sessionToken" AS token FROM sessions'):
        headers = {"Cookie": f"minitik_session={row['token']}"}
        assert api.get("/api/accounts", headers=headers).status_code == 401


def test_an_ended_session_and_an_erased_person_are_401(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    browser = sign_in(scene, person.id)
    scene.run('UPDATE users SET "deletedAt" = "createdAt"')
    assert api.get("/api/accounts", headers=browser).status_code == 401
    assert api.get("/api/accounts", headers=person.headers).status_code == 401
    scene.run('UPDATE users SET "deletedAt" = NULL')
    assert api.get("/api/accounts", headers=browser).status_code == 200
    scene.run("UPDATE sessions SET expires = expires - interval '30 days'")
    assert api.get("/api/accounts", headers=browser).status_code == 401


def test_behind_https_the_cookie_is_bound_to_the_host(
    mailbox: Mailbox, settings: Settings, scene: Scene, person: Person
) -> None:
    """`__Host-` and Secure; the plain name is no session then."""
    secure = settings.model_copy(update={"nextauth_url": "https://app.example.test"})
    with serving(secure) as api:
        ask(api, f"{person.id}@example.test")
        [token] = mailbox.tokens()
        assert f"https://app.example.test/auth/verify?token={token}" in mailbox.text()
        done = api.post(
            "/api/auth/verify",
            json={"token": token},
            headers={"Origin": "https://app.example.test"},
        )
        cookie = done.headers["set-cookie"]
        assert cookie.startswith("__Host-minitik_session=")
        assert "Secure" in cookie
        assert "Domain" not in cookie
        value = cookie.partition("=")[2].partition(";")[0]
        for name, status in (("__Host-minitik_session", 200), ("minitik_session", 401)):
            answer = api.get("/api/accounts", headers={"Cookie": f"{name}={value}"})
            assert answer.status_code == status


def test_the_pages_have_no_script_and_are_told_so(api: httpx.Client) -> None:
    """What stands in the link stays text; nothing may be loaded, framed or sent elsewhere."""
    page = api.get("/auth/verify", params={"token": '"><script>x</script>'})
    assert "<script" not in page.text
    for path in ("/auth/verify?token=x", "/signin"):
        answer = api.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "strict-origin"


def test_the_forms_of_the_pages_go_all_the_way(
    mailbox: Mailbox, api: httpx.Client, scene: Scene, person: Person
) -> None:
    """Address, link, button, signed in, signed out: as a browser without scripts sends it."""
    address = f"{person.id}@example.test"
    sent = api.post("/api/auth/magic-link", data={"email": address}, headers=OWN_ORIGIN)
    assert (sent.status_code, sent.headers["content-type"][:9]) == (202, "text/html")
    [token] = mailbox.tokens()
    done = api.post("/api/auth/verify", data={"token": token}, headers=OWN_ORIGIN)
    assert (done.status_code, done.headers["location"]) == (303, "/signin")
    assert address in api.get("/signin").text
    again = api.post("/api/auth/verify", data={"token": token}, headers=OWN_ORIGIN)
    assert (again.status_code, again.headers["content-type"][:9]) == (400, "text/html")
    out = api.post("/api/auth/signout", data={"everywhere": "true"}, headers=OWN_ORIGIN)
    assert out.status_code == 303
    assert scene.rows("SELECT 1 FROM sessions") == []


@pytest.mark.parametrize(
    "body", [{}, {"email": "no address"}, {"email": 3}, {"email": "a@b.c", "x": 1}]
)
def test_a_bad_body_is_400_and_names_the_field(
    api: httpx.Client, scene: Scene, body: dict[str, object]
) -> None:
    answer = api.post("/api/auth/magic-link", json=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] in {"email", "x"}
    assert scene.rows("SELECT 1 FROM outbox") == []

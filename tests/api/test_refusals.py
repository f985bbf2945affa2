"""What is refused over HTTP: the status, the field, the fix, and a database that did not change."""

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.local.servers.postgres import PostgresServer
from minitik_dagster.settings import Settings
from tests.api.scene import VERTICAL, Person, Scene
from tests.api.server import serving

POSTS = ("/api/scheduling", "/api/publishing")


# One database for the whole file: what is refused here must not change it anyhow.


@pytest.fixture(scope="module")
def engine(postgres_server: PostgresServer, template_database: str) -> Iterator[Engine]:
    """Eyes on the file's database."""
    name = f"test_{secrets.token_hex(6)}"
    postgres_server.create_database(name, template=template_database)
    engine = make_engine(postgres_server.database_url(name))
    yield engine
    engine.dispose()
    postgres_server.drop_database(name)


@pytest.fixture(scope="module")
def scene(engine: Engine) -> Scene:
    """What makes people, accounts and contents."""
    return Scene(engine)


@pytest.fixture(scope="module")
def api(engine: Engine) -> Iterator[httpx.Client]:
    """A client of the API under uvicorn."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with serving(Settings(database_url=SecretStr(url))) as client:
        yield client


@pytest.fixture
def person(scene: Scene) -> Person:
    """Somebody of this test's own."""
    return scene.person()


def _refused(answer: httpx.Response, status: int, field: str | None = None) -> dict[str, Any]:
    """The problem, checked for what every problem must have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem = answer.json()
    assert isinstance(problem, dict)
    assert problem["status"] == status
    assert problem["type"].startswith("/problems/")
    assert problem["title"]
    assert problem["detail"] == problem["error"]
    assert problem["requestId"] == answer.headers["x-request-id"]
    if field is not None:
        found = [item for item in problem["errors"] if item["field"] == field]
        assert found, f"{field} is not named in {problem['errors']}"
        assert found[0]["message"]
        assert found[0]["fix"]
    return problem


class Wish:
    """A good request, to be spoilt in one place."""

    def __init__(self, scene: Scene, person: Person) -> None:
        self.content = scene.content(person)
        self.account = scene.account(person)
        soon = datetime.now(UTC) + timedelta(hours=1)
        self.body: dict[str, Any] = {
            "contentId": self.content,
            "accountIds": [self.account],
            "scheduledAt": soon.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "timezone": "Europe/Berlin",
        }


@pytest.fixture
def wish(scene: Scene, person: Person) -> Wish:
    """A request that would be granted as it is."""
    return Wish(scene, person)


def test_the_unspoilt_request_is_granted(api: httpx.Client, person: Person, wish: Wish) -> None:
    """Each refusal below is due to what it spoils, and to nothing else."""
    answer = api.post("/api/scheduling", headers=person.headers, json=wish.body)
    assert answer.status_code == 201, answer.text


SPOILT: list[tuple[str, dict[str, Any], int, str]] = [
    ("unknown content", {"contentId": "cunknown"}, 404, "contentId"),
    ("content id that is none", {"contentId": "a\x00b"}, 404, "contentId"),
    ("content id of another kind", {"contentId": 7}, 400, "contentId"),
    ("no account", {"accountIds": []}, 400, "accountIds"),
    ("unknown account", {"accountIds": ["cunknown"]}, 404, "accountIds.0"),
    ("accounts of another kind", {"accountIds": "x"}, 400, "accountIds"),
    ("past time", {"scheduledAt": "2020-01-01T00:00:00Z"}, 400, "scheduledAt"),
    ("far future", {"scheduledAt": "2099-01-01T00:00:00Z"}, 400, "scheduledAt"),
    ("no time at all", {"scheduledAt": "tomorrow"}, 400, "scheduledAt"),
    ("a date that does not exist", {"scheduledAt": "2027-02-30T10:00:00Z"}, 400, "scheduledAt"),
    ("null time", {"scheduledAt": None}, 400, "scheduledAt"),
    ("unknown zone", {"timezone": "Mars/Olympus"}, 400, "timezone"),
    ("the machine's own zone", {"timezone": "localtime"}, 400, "timezone"),
    ("unknown priority", {"priority": "URGENT"}, 400, "priority"),
    ("priority in lower case", {"priority": "high"}, 400, "priority"),
    ("lateness below one second", {"maxLateness": 0}, 400, "maxLateness"),
    ("lateness as text", {"maxLateness": "900"}, 400, "maxLateness"),
    ("unknown field", {"acountIds": []}, 400, "acountIds"),
    ("unknown disambiguation", {"disambiguation": "both"}, 400, "disambiguation"),
    ("options of another kind", {"options": []}, 400, "options"),
    ("unknown platform in options", {"options": {"vimeo": {}}}, 400, "options.vimeo"),
    ("unknown option", {"options": {"instagram": {"captoin": "x"}}}, 400,
     "options.instagram.captoin"),
    ("option of another kind", {"options": {"instagram": {"shareToFeed": "perhaps"}}}, 400,
     "options.instagram.shareToFeed"),
    ("options of an account that is not chosen", {"options": {"accounts": {"cother": {}}}}, 400,
     "options.accounts.cother"),
    ("caption that PostgreSQL cannot hold", {"options": {"instagram": {"caption": "a\x00"}}}, 400,
     "options.instagram.caption"),
    ("caption beyond the platform's limit", {"options": {"instagram": {"caption": "x" * 2201}}},
     422, "options.instagram.caption"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "status", "field"), [row[1:] for row in SPOILT], ids=[row[0] for row in SPOILT]
)
def test_a_bad_value_is_named_with_its_fix_and_changes_nothing(
    api: httpx.Client,
    scene: Scene,
    person: Person,
    wish: Wish,
    spoil: dict[str, Any],
    status: int,
    field: str,
) -> None:
    before = scene.fingerprint()
    answer = api.post("/api/scheduling", headers=person.headers, json=wish.body | spoil)
    _refused(answer, status, field)
    assert scene.fingerprint() == before


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"[]", b'"x"', b"null", b"\xff\xfe", b"{" * 5000, b'{"contentId": 1e999}'],
    ids=["cut", "empty", "list", "text", "null", "not-utf-8", "deep", "huge-number"],
)
def test_garbage_instead_of_json_is_400(
    api: httpx.Client, scene: Scene, person: Person, path: str, body: bytes
) -> None:
    """Never a 5xx, and the answer names what is to be sent."""
    before = scene.fingerprint()
    headers = person.headers | {"Content-Type": "application/json"}
    problem = _refused(api.post(path, headers=headers, content=body), 400)
    assert problem["errors"]
    assert scene.fingerprint() == before


@pytest.mark.parametrize(
    "secret",
    [
        "act.5Zk3x9aBc7d0123456789abcdefGHIJKLMNOP",
        "mtk_Zk3x9aBc7d0123456789abcdefGHIJKLMNOPqrs",
        "Zk3x9aBc7d_0123456789-abcdefGHIJKLMNOPqrstu",
        "0f" * 32,
    ],
    ids=["platform token", "API key", "link", "encryption key"],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(
    api: httpx.Client, person: Person, secret: str
) -> None:
    """In a path, a query, a value or a field's name; the problem says what is wrong all the same."""
    body = {"contentId": 1, "accountIds": [], "scheduledAt": secret, "timezone": secret, secret: 1}
    for answer in (
        api.get(f"/api/publishing/{secret}", headers=person.headers),
        api.get(f"/api/nothing/{secret}?token={secret}", headers=person.headers),
        api.post(f"/api/accounts/{secret}/refresh", headers=person.headers),
        api.get("/api/scheduling", params={"status": secret}, headers=person.headers),
        api.post("/api/scheduling", json=body, headers=person.headers),
        api.get("/healthz", headers={"Host": f"{secret}.example.org"}),
    ):
        assert answer.status_code in {400, 404}
        assert secret[12:] not in answer.text
        assert answer.json()["detail"]


def test_lone_surrogates_are_refused_before_they_reach_a_database(
    api: httpx.Client, scene: Scene, person: Person, wish: Wish
) -> None:
    """JSON can spell what UTF-8 cannot hold."""
    body = wish.body | {"options": {"instagram": {"caption": "PLACE"}}}
    text = json.dumps(body).replace("PLACE", "\\ud800")
    headers = person.headers | {"Content-Type": "application/json"}
    before = scene.fingerprint()
    answer = api.post("/api/scheduling", headers=headers, content=text)
    _refused(answer, 400, "options.instagram.caption")
    text = json.dumps(wish.body | {"contentId": "PLACE"}).replace("PLACE", "\\ud800")
    assert api.post("/api/scheduling", headers=headers, content=text).status_code in {400, 404}
    assert scene.fingerprint() == before


@pytest.mark.parametrize("path", POSTS)
def test_ids_of_somebody_else_look_like_ids_of_nobody(
    api: httpx.Client, scene: Scene, person: Person, wish: Wish, path: str
) -> None:
    """404 alike: an answer must not tell whether a foreign id exists."""
    other = scene.person()
    foreign_content, foreign_account = scene.content(other), scene.account(other)
    base = {key: wish.body[key] for key in ("contentId", "accountIds")}
    if path == "/api/scheduling":
        base = wish.body
    before = scene.fingerprint()
    for field, foreign, unknown in (
        ("contentId", {"contentId": foreign_content}, {"contentId": "c" + "0" * 24}),
        ("accountIds.0", {"accountIds": [foreign_account]}, {"accountIds": ["c" + "0" * 24]}),
    ):
        told = [
            _refused(api.post(path, headers=person.headers, json=base | spoil), 404, field)
            for spoil in (foreign, unknown)
        ]
        shapes = [
            {key: value for key, value in item.items() if key in {"type", "title", "status"}}
            for item in told
        ]
        assert shapes[0] == shapes[1]
    assert scene.fingerprint() == before


def test_reading_or_changing_somebody_elses_job_or_content_is_404(
    api: httpx.Client, scene: Scene, person: Person, wish: Wish
) -> None:
    job = api.post("/api/scheduling", headers=person.headers, json=wish.body).json()
    stranger = scene.person()
    before = scene.fingerprint()
    for job_id in (job["scheduledJobId"], "cnobody", "a%00b"):
        path = f"/api/scheduling/{job_id}"
        _refused(api.get(path, headers=stranger.headers), 404)
        _refused(api.delete(path, headers=stranger.headers), 404)
        _refused(api.patch(path, headers=stranger.headers, json={"priority": "LOW"}), 404)
    for content_id in (wish.content, "cnobody", "a%00b"):
        _refused(api.get(f"/api/publishing/{content_id}", headers=stranger.headers), 404)
    assert scene.fingerprint() == before


def test_a_past_time_is_refused_with_both_instants(
    api: httpx.Client, person: Person, wish: Wish
) -> None:
    """The message begins as the old system's did and names what was asked and what is now."""
    body = wish.body | {"scheduledAt": "2020-06-01T10:00:00", "timezone": "Asia/Tokyo"}
    problem = _refused(api.post("/api/scheduling", headers=person.headers, json=body), 400)
    assert problem["error"].startswith("Cannot schedule a job in the past")
    assert "2020-06-01T01:00:00.000Z" in problem["error"]
    assert f"{datetime.now(UTC).year}-" in problem["error"]


def test_an_account_named_twice_is_refused(
    api: httpx.Client, scene: Scene, person: Person, wish: Wish
) -> None:
    before = scene.fingerprint()
    body = wish.body | {"accountIds": [wish.account, wish.account]}
    _refused(api.post("/api/scheduling", headers=person.headers, json=body), 400, "accountIds")
    assert scene.fingerprint() == before


def test_a_content_that_cannot_be_sent_is_refused_by_rule(
    api: httpx.Client, scene: Scene, person: Person, wish: Wish
) -> None:
    """Incomplete and unfit media are 422 with the reason, a deleted content is 404."""
    incomplete = scene.content(person, complete=False, facts=None)
    large = scene.content(
        person, facts=type(VERTICAL)(**vars(VERTICAL) | {"size": 2**30, "bitrate": 5_000_000})
    )
    deleted = scene.content(person, deleted=True)
    before = scene.fingerprint()
    for content, status, word in (
        (incomplete, 422, "not complete"),
        (large, 422, "INSTAGRAM: fileSize"),
        (deleted, 404, "no content"),
    ):
        body = wish.body | {"contentId": content}
        answer = api.post("/api/scheduling", headers=person.headers, json=body)
        assert word in _refused(answer, status, "contentId")["detail"]
    assert scene.fingerprint() == before


def test_an_account_that_is_not_connected_is_refused_by_rule(
    api: httpx.Client, scene: Scene, person: Person, wish: Wish
) -> None:
    expired = scene.account(person, status=AccountStatus.EXPIRED)
    before = scene.fingerprint()
    body = wish.body | {"accountIds": [expired]}
    problem = _refused(
        api.post("/api/scheduling", headers=person.headers, json=body), 422, "accountIds"
    )
    assert "EXPIRED" in problem["detail"]
    assert scene.fingerprint() == before


def test_tiktok_without_any_privacy_is_refused_naming_the_field(
    api: httpx.Client, scene: Scene, person: Person, wish: Wish
) -> None:
    """No default of ours: TikTok forbids a preselected one."""
    account = scene.account(person, Platform.TIKTOK, details={})
    body = wish.body | {"accountIds": [account]}
    before = scene.fingerprint()
    answer = api.post("/api/scheduling", headers=person.headers, json=body)
    _refused(answer, 422, "options.tiktok.privacy")
    assert scene.fingerprint() == before
    chosen = body | {"options": {"tiktok": {"privacy": "SELF_ONLY"}}}
    granted = api.post("/api/scheduling", headers=person.headers, json=chosen)
    assert granted.status_code == 201, granted.text


def test_validate_tells_everything_at_once_and_changes_nothing(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """A bad time, a closed account and unfit media in one answer."""
    content = scene.content(person, facts=type(VERTICAL)(**vars(VERTICAL) | {"fps": 12.0}))
    closed = scene.account(person, status=AccountStatus.REVOKED)
    tiktok = scene.account(person, Platform.TIKTOK, details={})
    before = scene.fingerprint()
    answer = api.post(
        "/api/publishing/validate",
        headers=person.headers,
        json={
            "contentId": content,
            "accountIds": [closed, tiktok],
            "scheduledAt": "2020-01-01T00:00:00Z",
        },
    )
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["valid"] is False
    fields = {item["field"] for item in told["errors"]}
    assert {"scheduledAt", "accountIds", "contentId", "options.tiktok.privacy"} <= fields
    assert all(item["message"] and item["fix"] for item in told["errors"])
    assert scene.fingerprint() == before


def test_validate_shows_what_would_be_published(
    api: httpx.Client, scene: Scene, person: Person, wish: Wish
) -> None:
    before = scene.fingerprint()
    answer = api.post("/api/publishing/validate", headers=person.headers, json=wish.body)
    told = answer.json()
    assert (told["valid"], told["errors"]) == (True, [])
    [planned] = told["publications"]
    assert planned["options"]["caption"] == "A title"
    assert scene.fingerprint() == before

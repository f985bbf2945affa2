"""Every route, held to one table: who may call it, and that another person's anything is 404.

A route that is not in the table fails the suite: whoever adds one says here what guards it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import SecretStr
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import create_key
from minitik_dagster.accounts.scopes import OLD_SCOPES, SCOPES, expanded
from minitik_dagster.api.app import create_app
from minitik_dagster.api.routers import ROUTERS
from minitik_dagster.notifications.events import CONTENT_READY, tell
from minitik_dagster.settings import Settings
from tests.api.browsing import OWN_ORIGIN, sign_in
from tests.api.scene import Person, Scene
from tests.api.server import serving
from tests.api.test_dead_letters import failed_post
from tests.notifications.browser import Browser

READS_POSTS = ("content:read", "publish:read")


@dataclass(frozen=True)
class Guard:
    """What guards a route.

    `scopes`: one of these is needed; None = any valid credentials will do. `admin` = an admin's alone.
    `is_open` = answers without credentials, and what is asked of it holds nobody's data. `stream`: its
    answer does not end by itself (tests/api/test_events.py looks into it). `body` is sent where it is
    another's ids that must not be found: a text in `<…>` is an id of theirs.
    """

    scopes: tuple[str, ...] | None = None
    admin: bool = False
    is_open: bool = False
    body: Mapping[str, Any] = field(default_factory=dict)
    stream: bool = False


CONTENT_READ, CONTENT_WRITE = Guard(("content:read",)), Guard(("content:write",))
ACCOUNTS_READ, ANALYTICS = Guard(("accounts:read",)), Guard(("analytics:read",))
POSTS, SCHEDULE, PUBLISH = Guard(READS_POSTS), Guard(("schedule:write",)), Guard(("publish",))
WEBHOOKS, NOTIFICATIONS = Guard(("webhooks",)), Guard(("notifications",))
ANY, ADMIN, OPEN = Guard(), Guard(admin=True), Guard(is_open=True)
_POST = {"contentId": "<content>", "accountIds": ["<account>"]}
_MINE_ON_THEIRS = {"contentId": "<mine>", "accountIds": ["<account>"]}
_SLOT = {"scheduledAt": "<tomorrow>", "timezone": "UTC"}
_ETAG = {"etag": '"d41d8cd98f00b204e9800998ecf8427e"'}
_REPLAY = {"ids": ["<letter>"]}

GUARDS: dict[tuple[str, str], Guard] = {
    ("POST", "/api/content"): CONTENT_WRITE,
    ("POST", "/api/content/upload/init"): CONTENT_WRITE,
    ("POST", "/api/content/direct"): CONTENT_WRITE,
    ("GET", "/api/content"): CONTENT_READ,
    ("GET", "/api/content/{content_id}"): CONTENT_READ,
    ("PATCH", "/api/content/{content_id}"): Guard(("content:write",), body={"title": "Mine"}),
    ("DELETE", "/api/content/{content_id}"): CONTENT_WRITE,
    ("POST", "/api/content/bulk/delete"): CONTENT_WRITE,
    ("GET", "/api/content/upload/{upload_id}/resume"): CONTENT_WRITE,
    ("PUT", "/api/content/upload/{upload_id}/chunk/{part_number}"): Guard(
        ("content:write",), body=_ETAG
    ),
    ("POST", "/api/content/upload/{upload_id}/complete"): CONTENT_WRITE,
    ("DELETE", "/api/content/upload/{upload_id}/abort"): CONTENT_WRITE,
    ("POST", "/api/scheduling"): Guard(("schedule:write",), body=_POST | _SLOT),
    # Each row has its own answer: another's ids in rows are in tests/api/test_bulk.py.
    ("POST", "/api/scheduling/bulk"): SCHEDULE,
    ("GET", "/api/scheduling"): POSTS,
    ("GET", "/api/scheduling/stats"): ADMIN,
    ("POST", "/api/scheduling/process"): ADMIN,
    ("GET", "/api/scheduling/{job_id}"): POSTS,
    ("PATCH", "/api/scheduling/{job_id}"): Guard(("schedule:write",), body={"priority": "HIGH"}),
    ("DELETE", "/api/scheduling/{job_id}"): SCHEDULE,
    ("GET", "/api/scheduling/jobs/{job_id}"): POSTS,
    ("PATCH", "/api/scheduling/jobs/{job_id}"): Guard(
        ("schedule:write",), body={"priority": "HIGH"}
    ),
    ("DELETE", "/api/scheduling/jobs/{job_id}"): SCHEDULE,
    ("POST", "/api/publishing"): Guard(("publish",), body=_POST),
    ("POST", "/api/publishing/validate"): Guard(READS_POSTS, body=_POST),
    ("GET", "/api/publishing/{content_id}"): POSTS,
    ("DELETE", "/api/publishing/{content_id}"): PUBLISH,
    ("POST", "/api/publishing/{content_id}/rollback"): PUBLISH,
    ("GET", "/api/dead-letters"): POSTS,
    ("GET", "/api/dead-letters/{letter_id}"): POSTS,
    ("POST", "/api/dead-letters/replay"): Guard(("publish",), body=_REPLAY),
    ("GET", "/api/queues"): ADMIN,
    ("POST", "/api/queues/pause"): ADMIN,
    ("POST", "/api/queues/resume"): ADMIN,
    ("GET", "/api/accounts"): ACCOUNTS_READ,
    ("POST", "/api/accounts/initiate"): Guard(
        ("accounts:write",), body={"provider": "tiktok", "accountId": "<account>"}
    ),
    ("GET", "/api/accounts/callback/{provider}"): OPEN,
    ("GET", "/connected"): OPEN,
    ("POST", "/api/accounts/{account_id}/release"): PUBLISH,
    ("DELETE", "/api/accounts/{account_id}"): Guard(("accounts:write",)),
    ("POST", "/api/accounts/refresh-expiring"): ADMIN,
    ("POST", "/api/accounts/{account_id}/refresh"): Guard(("accounts:write",)),
    ("PATCH", "/api/accounts/{account_id}"): Guard(
        ("accounts:write",), body={"defaultPrivacy": "SELF_ONLY"}
    ),
    ("GET", "/api/analytics/dashboard"): ANALYTICS,
    ("GET", "/api/analytics/content/{content_id}"): ANALYTICS,
    ("POST", "/api/analytics/refresh"): ANALYTICS,
    ("POST", "/api/analytics/export"): ANALYTICS,
    ("GET", "/api/analytics/exports/{export_id}"): ANALYTICS,
    ("GET", "/api/platforms/health"): POSTS,
    ("GET", "/api/platforms/circuit-breakers"): POSTS,
    ("GET", "/api/platforms/rate-limits"): POSTS,
    ("POST", "/api/platforms/circuit-breakers/{platform}/reset"): ADMIN,
    ("POST", "/api/auth/magic-link"): OPEN,
    ("POST", "/api/auth/verify"): OPEN,
    ("POST", "/api/auth/signout"): ANY,
    ("GET", "/signin"): OPEN,
    ("GET", "/auth/verify"): OPEN,
    ("POST", "/api/keys"): ANY,
    ("GET", "/api/keys"): ANY,
    ("DELETE", "/api/keys/{key_id}"): ANY,
    ("POST", "/api/webhooks"): WEBHOOKS,
    ("GET", "/api/webhooks"): WEBHOOKS,
    ("GET", "/api/webhooks/{webhook_id}"): WEBHOOKS,
    ("PATCH", "/api/webhooks/{webhook_id}"): Guard(("webhooks",), body={"description": "d"}),
    ("DELETE", "/api/webhooks/{webhook_id}"): WEBHOOKS,
    ("GET", "/api/webhooks/{webhook_id}/deliveries"): WEBHOOKS,
    ("POST", "/api/webhooks/{webhook_id}/deliveries/{delivery_id}/resend"): WEBHOOKS,
    ("GET", "/api/notifications/preferences"): NOTIFICATIONS,
    ("PATCH", "/api/notifications/preferences"): NOTIFICATIONS,
    ("GET", "/api/notifications/push-key"): NOTIFICATIONS,
    ("GET", "/api/notifications/subscriptions"): NOTIFICATIONS,
    ("POST", "/api/notifications/subscriptions"): NOTIFICATIONS,
    ("DELETE", "/api/notifications/subscriptions/{subscription_id}"): NOTIFICATIONS,
    ("GET", "/api/events"): Guard(READS_POSTS, stream=True),
    # The signature is its credential: tests/api/test_platform_events.py.
    ("POST", "/api/webhooks/tiktok"): OPEN,
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): ADMIN,
}
GUARDED = {route: guard for route, guard in GUARDS.items() if not guard.is_open}
UNSAFE = [route for route in GUARDED if route[0] not in {"GET", "HEAD"}]
# Ids that a path may name, by the parameter's name; a platform is nobody's.
_PARAMETERS = {
    "content_id": "<content>", "upload_id": "<upload>", "part_number": "1", "job_id": "<job>",
    "letter_id": "<letter>", "key_id": "<key>", "platform": "tiktok",
    "account_id": "<account>", "provider": "tiktok", "webhook_id": "<webhook>",
    "delivery_id": "<delivery>", "export_id": "<export>",
    "subscription_id": "<subscription>",
}  # fmt: skip


def _name(route: tuple[str, str]) -> str:
    return " ".join(route)


@pytest.fixture
def settings(
    settings: Settings, s3_endpoint: str, s3_bucket: str, mongodb_uri: str, mongodb_name: str
) -> Settings:
    """With a bucket, MongoDB and a sandbox's hosts: uploads and rollbacks ask for them first."""
    hosts = [name for name in Settings.model_fields if name.endswith("_base_url")]
    loopback = {name: "http://127.0.0.1:9" for name in hosts if not name.startswith("media")}
    return settings.model_copy(
        update=loopback
        | {
            "aws_endpoint_url_s3": s3_endpoint,
            "aws_s3_bucket": s3_bucket,
            "mongodb_uri": SecretStr(mongodb_uri),
            "mongodb_db": mongodb_name,
            "aws_access_key_id": SecretStr("test"),
            "aws_secret_access_key": SecretStr("test"),
        }
    )


@pytest.fixture
def api(settings: Settings) -> Iterator[httpx.Client]:
    """The API with all its servers."""
    with serving(settings) as client:
        yield client


@dataclass(frozen=True)
class Theirs:
    """Another person's ids, and one content of the caller's."""

    ids: Mapping[str, str]

    def fill(self, value: Any) -> Any:
        """Put the ids where a text or a body names them."""
        if isinstance(value, str):
            for name, found in self.ids.items():
                value = value.replace(f"<{name}>", found)
            return value
        if isinstance(value, Mapping):
            return {name: self.fill(item) for name, item in value.items()}
        return [self.fill(item) for item in value]

    def path(self, template: str) -> str:
        """The route's path with their ids in it."""
        for name, text in _PARAMETERS.items():
            template = template.replace(f"{{{name}}}", text)
        return str(self.fill(template))


@pytest.fixture
def other(scene: Scene) -> Person:
    """Somebody else."""
    return scene.person()


@pytest.fixture
def theirs(api: httpx.Client, scene: Scene, person: Person, other: Person, tomorrow: str) -> Theirs:
    """A content, an account, a job, an upload, a dead letter and a key of somebody else's."""
    content, account = scene.content(other), scene.account(other)
    made = api.post(
        "/api/scheduling",
        json={
            "contentId": content, "accountIds": [account], "scheduledAt": tomorrow, "timezone": "UTC",
        },
        headers=other.headers,
    )  # fmt: skip
    assert made.status_code == 201, made.text
    begun = api.post(
        "/api/content",
        json={
            "title": "v", "filename": "v.mp4", "mimeType": "video/mp4", "fileSize": 10_000_000,
        },
        headers=other.headers,
    )  # fmt: skip
    assert begun.status_code == 201, begun.text
    hook = api.post("/api/webhooks", json={"url": "http://127.0.0.1:9/"}, headers=other.headers)
    assert hook.status_code == 201, hook.text
    with Session(scene.engine) as session, session.begin():
        tell(session, other.id, CONTENT_READY, contentId=content)
    # Not to be sent while these tests look at every row.
    scene.run('UPDATE webhook_deliveries SET state = \'dead\', "doneAt" = "createdAt"')
    [delivery] = scene.rows("SELECT id FROM webhook_deliveries")
    browser = Browser().subscription("http://127.0.0.1:9/push")
    subscribed = api.post("/api/notifications/subscriptions", json=browser, headers=other.headers)
    assert subscribed.status_code == 201, subscribed.text
    exported = api.post(
        "/api/analytics/export", json={"format": "csv", "range": "7d"}, headers=other.headers
    )
    assert exported.status_code == 202, exported.text
    [key] = scene.rows('SELECT id FROM api_keys WHERE "userId" = :id', id=other.id)
    return Theirs(
        {
            "content": content,
            "account": account,
            "job": made.json()["scheduledJobId"],
            "upload": begun.json()["uploadId"],
            "letter": failed_post(scene, other),
            "key": key["id"],
            "webhook": hook.json()["id"],
            "delivery": delivery["id"],
            "export": exported.json()["id"],
            "subscription": subscribed.json()["id"],
            "mine": scene.content(person),
            "tomorrow": tomorrow,
        }
    )


def _call(
    api: httpx.Client, theirs: Theirs, route: tuple[str, str], headers: Mapping[str, str]
) -> httpx.Response:
    method, template = route
    body = theirs.fill(GUARDS[route].body)
    json = None if method in {"GET", "DELETE"} else body
    return api.request(method, theirs.path(template), headers=dict(headers), json=json)


def test_every_route_stands_in_the_table() -> None:
    """Those of the OpenAPI document, and the pages that are not in it."""
    document = create_app(Settings()).openapi()["paths"]
    documented = {(method.upper(), path) for path in document for method in document[path]}
    served = {
        (method, route.path)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert documented <= served
    assert served == set(GUARDS)


def test_every_parameter_of_a_path_is_known_to_this_walk() -> None:
    named = {part[1:-1] for _, path in GUARDS for part in path.split("/") if part.startswith("{")}
    assert named == set(_PARAMETERS)


def test_without_valid_credentials_nothing_is_told_and_nothing_changes(
    api: httpx.Client, scene: Scene, theirs: Theirs, other: Person
) -> None:
    """No key, a wrong, an expired and a revoked one, and an ended session: 401 on every route."""
    with Session(scene.engine) as session, session.begin():
        past = datetime.now(UTC) - timedelta(seconds=1)
        expired = create_key(session, other.id, "old", expires_at=past)
        revoked = create_key(session, other.id, "gone")
    scene.run('UPDATE api_keys SET "revokedAt" = "createdAt" WHERE name = \'gone\'')
    ended = sign_in(scene, other.id)
    scene.run("DELETE FROM sessions")
    credentials: dict[str, dict[str, str]] = {
        "none": {},
        "wrong": {"Authorization": "Bearer mtk_wrong"},
        "expired": {"Authorization": f"Bearer {expired}"},
        "revoked": {"Authorization": f"Bearer {revoked}"},
        "basic": {"Authorization": "Basic eDp5"},
        "ended session": ended | OWN_ORIGIN,
    }
    before = scene.fingerprint()
    for name, headers in credentials.items():
        for route in GUARDED:
            answer = _call(api, theirs, route, headers)
            assert answer.status_code == 401, f"{name}: {_name(route)}: {answer.text}"
            assert answer.json()["type"] == "/problems/unauthorized"
    assert scene.fingerprint() == before


def test_a_key_without_the_scope_is_403_on_every_route(
    api: httpx.Client, scene: Scene, theirs: Theirs
) -> None:
    """A key of every single scope, old names too: it opens what includes it, and nothing else."""
    before = None
    for scope in (*SCOPES, *OLD_SCOPES):
        if scope == "admin":
            continue
        headers = scene.person(scope).headers
        before = scene.fingerprint()
        for route, guard in GUARDED.items():
            if guard.scopes is None and not guard.admin:
                continue
            if guard.scopes and expanded([scope]) & set(guard.scopes):
                continue
            answer = _call(api, theirs, route, headers)
            assert answer.status_code == 403, f"{scope}: {_name(route)}: {answer.text}"
        assert scene.fingerprint() == before


def test_an_admins_route_is_no_mere_scope(api: httpx.Client, scene: Scene, theirs: Theirs) -> None:
    """Neither a key with `admin` of somebody who is none, nor such a person's session."""
    stranger = scene.person("admin")
    browser = sign_in(scene, stranger.id) | OWN_ORIGIN
    routes = [route for route, guard in GUARDED.items() if guard.admin]
    assert routes
    for route in routes:
        for headers in (stranger.headers, browser):
            answer = _call(api, theirs, route, headers)
            assert answer.status_code == 403, f"{_name(route)}: {answer.text}"


@pytest.mark.parametrize("by", ["key", "session"])
def test_anothers_ids_are_not_there(
    api: httpx.Client, scene: Scene, theirs: Theirs, person: Person, by: str
) -> None:
    """404 in the same words as for an id that does not exist, and not a row is touched."""
    headers = person.headers if by == "key" else sign_in(scene, person.id) | OWN_ORIGIN
    nowhere = Theirs(
        {name: f"c{number:024d}" for number, name in enumerate(theirs.ids)}
        | {name: theirs.ids[name] for name in ("tomorrow", "mine")}
    )
    api.get("/api/accounts", headers=headers)
    before = scene.fingerprint()
    named = 0
    for route, guard in GUARDED.items():
        if guard.admin or "<" not in f"{theirs_template(route[1])}{guard.body}":
            continue
        named += 1
        answer, unknown = (_call(api, ids, route, headers) for ids in (theirs, nowhere))
        assert answer.status_code == 404, f"{_name(route)}: {answer.text}"
        assert unknown.status_code == 404, f"{_name(route)}: {unknown.text}"
        assert _words(answer, theirs) == _words(unknown, nowhere), _name(route)
    assert named >= 18
    assert scene.fingerprint() == before


def test_a_content_of_ones_own_does_not_go_to_anothers_account(
    api: httpx.Client, scene: Scene, theirs: Theirs, person: Person
) -> None:
    before = scene.fingerprint()
    body = theirs.fill(_MINE_ON_THEIRS)
    for path, more in (("/api/scheduling", theirs.fill(_SLOT)), ("/api/publishing", {})):
        answer = api.post(path, json=body | more, headers=person.headers)
        assert answer.status_code == 404, f"{path}: {answer.text}"
    checked = api.post("/api/publishing/validate", json=body, headers=person.headers).json()
    assert checked["publications"] == []
    assert [item["message"] for item in checked["errors"]] == [
        f"no account '{theirs.ids['account']}'"
    ]
    assert scene.fingerprint() == before


def test_listings_hold_nothing_of_anothers(
    api: httpx.Client, scene: Scene, theirs: Theirs, person: Person, other: Person
) -> None:
    """Every GET without an id in its path; the owner does see some of it there."""
    listings = [
        route
        for route, guard in GUARDED.items()
        if route[0] == "GET" and "{" not in route[1] and not guard.admin and not guard.stream
    ]
    secret = {found for name, found in theirs.ids.items() if name not in {"tomorrow", "mine"}}
    seen_by_owner = ""
    for route in listings:
        for headers in (person.headers, sign_in(scene, person.id)):
            answer = _call(api, theirs, route, headers)
            assert answer.status_code == 200, answer.text
            assert not [found for found in secret if found in answer.text], _name(route)
        seen_by_owner += _call(api, theirs, route, other.headers).text
    assert sum(found in seen_by_owner for found in secret) >= 4


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example"])
def test_a_session_changes_nothing_by_another_sites_page(
    api: httpx.Client, scene: Scene, theirs: Theirs, other: Person, origin: str | None
) -> None:
    """The owner's own browser, every unsafe route: without our Origin it is 403."""
    headers = sign_in(scene, other.id) | ({"Origin": origin} if origin else {})
    before = scene.fingerprint()
    for route in UNSAFE:
        answer = _call(api, theirs, route, headers)
        assert answer.status_code == 403, f"{_name(route)}: {answer.text}"
    assert scene.fingerprint() == before
    assert len(scene.rows("SELECT 1 FROM sessions")) == 1


def theirs_template(path: str) -> str:
    """The path with the names of ids in it."""
    for name, text in _PARAMETERS.items():
        path = path.replace(f"{{{name}}}", text)
    return path


def _words(answer: httpx.Response, ids: Theirs) -> dict[str, Any]:
    """What an answer says, without the ids that were asked for."""
    told = answer.text
    for name, found in ids.ids.items():
        told = told.replace(found, f"<{name}>")
    body: dict[str, Any] = httpx.Response(200, text=told).json()
    return {name: value for name, value in body.items() if name not in {"requestId", "instance"}}

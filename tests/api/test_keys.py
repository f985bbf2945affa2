"""`/api/keys`: shown once, listed, revoked; a key never makes or revokes what may do more than it."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import create_key, hash_key
from minitik_dagster.accounts.scopes import USER_SCOPES
from tests.api.browsing import OWN_ORIGIN, sign_in
from tests.api.conftest import ADMIN_EMAIL
from tests.api.scene import Person, Scene


def test_a_person_makes_lists_and_revokes_a_key(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """Its text stands in the answer that made it and nowhere else."""
    browser = sign_in(scene, person.id) | OWN_ORIGIN
    body = {"name": "upload script", "scopes": ["content:write"]}
    made = api.post("/api/keys", json=body, headers=browser)
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    key, key_id = made.json()["key"], made.json()["id"]
    listed = api.get("/api/keys", headers=browser)
    assert key not in listed.text
    [found] = [item for item in listed.json()["keys"] if item["id"] == key_id]
    assert (found["scopes"], found["expiresAt"], found["lastUsedAt"]) == (
        ["content:write"],
        None,
        None,
    )
    [row] = scene.rows("SELECT * FROM api_keys WHERE id = :id", id=key_id)
    assert row["keyHash"] == hash_key(key)
    headers = {"Authorization": f"Bearer {key}"}
    assert api.get("/api/content", headers=headers).status_code == 403
    assert api.get("/api/keys", headers=headers).status_code == 200
    for _ in range(2):
        assert api.delete(f"/api/keys/{key_id}", headers=browser).status_code == 204
    assert api.get("/api/keys", headers=headers).status_code == 401


def test_a_key_makes_none_that_may_do_more_or_lasts_longer(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    with Session(scene.engine) as session, session.begin():
        key = create_key(session, person.id, "parent", scopes=["content:read"], expires_at=soon)
    headers = {"Authorization": f"Bearer {key}"}
    for scopes in (["content:write"], ["content:read", "publish"], ["publish:write"], ["admin"]):
        answer = api.post("/api/keys", json={"name": "x", "scopes": scopes}, headers=headers)
        assert answer.status_code == 403, scopes
    later = (soon + timedelta(days=9)).isoformat()
    child = api.post("/api/keys", json={"name": "x", "expiresAt": later}, headers=headers).json()
    assert child["scopes"] == ["content:read"]
    assert child["expiresAt"] == soon.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    endless = api.post("/api/keys", json={"name": "y"}, headers=headers).json()
    assert endless["expiresAt"] == child["expiresAt"]


def test_a_key_revokes_none_that_may_do_more(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """It may revoke itself."""
    with Session(scene.engine) as session, session.begin():
        small = create_key(session, person.id, "small", scopes=["content:read"])
    headers = {"Authorization": f"Bearer {small}"}
    ids = {row["name"]: row["id"] for row in scene.rows("SELECT * FROM api_keys")}
    assert api.delete(f"/api/keys/{ids['test']}", headers=headers).status_code == 403
    assert api.get("/api/accounts", headers=person.headers).status_code == 200
    assert api.delete(f"/api/keys/{ids['small']}", headers=headers).status_code == 204
    assert api.get("/api/keys", headers=headers).status_code == 401


def test_the_scope_admin_is_given_by_admins_only(api: httpx.Client, scene: Scene) -> None:
    """Neither a person who is none, nor a key with `admin` whose owner has ceased to be one."""
    person, admin = scene.person("admin"), scene.person("admin", email=ADMIN_EMAIL)
    body = {"name": "x", "scopes": ["admin"]}
    for headers in (person.headers, sign_in(scene, person.id) | OWN_ORIGIN):
        assert api.post("/api/keys", json=body, headers=headers).status_code == 403
    for headers in (admin.headers, sign_in(scene, admin.id) | OWN_ORIGIN):
        assert api.post("/api/keys", json=body, headers=headers).status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x", "scopes": ["root"]}, "scopes"),
        ({"name": "x", "expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"name": "x", "expiresAt": "2099-01-01T00:00:00"}, "expiresAt"),
    ],
)
def test_a_bad_key_is_400_and_names_the_field(
    api: httpx.Client, scene: Scene, person: Person, body: dict[str, object], field: str
) -> None:
    answer = api.post("/api/keys", json=body, headers=person.headers)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field
    assert len(scene.rows("SELECT 1 FROM api_keys")) == 1


def test_the_same_request_again_makes_no_second_key_and_does_not_show_the_first(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    headers = person.headers | {"Idempotency-Key": "once"}
    first = api.post("/api/keys", json={"name": "x"}, headers=headers)
    again = api.post("/api/keys", json={"name": "x"}, headers=headers)
    assert again.status_code == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.json()["id"], again.json()["key"]) == (first.json()["id"], None)
    assert first.json()["key"] not in str(scene.rows("SELECT t::text FROM idempotency_keys t"))
    assert len(scene.rows("SELECT 1 FROM api_keys")) == 2


def test_keys_of_the_old_names_do_what_they_did(api: httpx.Client, scene: Scene) -> None:
    """`publish:read` reads posts but no library; `publish:write` schedules but reads nothing."""
    reader, writer = scene.person("publish:read"), scene.person("publish:write")
    codes = {
        name: [
            api.get("/api/scheduling", headers=who.headers).status_code,
            api.get("/api/content", headers=who.headers).status_code,
            api.post("/api/scheduling", json={}, headers=who.headers).status_code,
            api.post("/api/publishing", json={}, headers=who.headers).status_code,
        ]
        for name, who in (("reader", reader), ("writer", writer))
    }
    assert codes == {"reader": [200, 403, 403, 403], "writer": [403, 403, 400, 400]}


def test_without_scopes_a_person_gets_all_but_admin(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    made = api.post("/api/keys", json={"name": "x"}, headers=sign_in(scene, person.id) | OWN_ORIGIN)
    assert made.json()["scopes"] == list(USER_SCOPES)

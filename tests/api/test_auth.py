"""Who may call: keys, scopes, admins."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import create_key, hash_key
from tests.api.scene import Person, Scene

PATHS = (
    ("POST", "/api/scheduling"),
    ("GET", "/api/scheduling"),
    ("GET", "/api/scheduling/c1"),
    ("PATCH", "/api/scheduling/c1"),
    ("DELETE", "/api/scheduling/c1"),
    ("GET", "/api/scheduling/stats"),
    ("POST", "/api/publishing"),
    ("POST", "/api/publishing/validate"),
    ("GET", "/api/publishing/c1"),
    ("GET", "/api/accounts"),
    ("GET", "/api/platforms/health"),
    ("GET", "/api/platforms/circuit-breakers"),
    ("POST", "/api/platforms/circuit-breakers/tiktok/reset"),
    ("GET", "/api/content"),
    ("POST", "/api/content"),
)


@pytest.mark.parametrize("authorization", [None, "Bearer mtk_wrong", "Bearer", "Basic eDp5"])
def test_without_a_valid_key_everything_is_401_and_says_how(
    api: httpx.Client, scene: Scene, authorization: str | None
) -> None:
    before = scene.fingerprint()
    headers = {"Authorization": authorization} if authorization else {}
    for method, path in PATHS:
        answer = api.request(method, path, headers=headers, json={})
        assert answer.status_code == 401, f"{method} {path}: {answer.text}"
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "minitik keys create" in answer.json()["detail"]
        assert "redacted" not in answer.json()["detail"]
    assert scene.fingerprint() == before


def test_a_revoked_and_an_expired_key_are_no_keys(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    with Session(scene.engine) as session, session.begin():
        past = datetime.now(UTC) - timedelta(seconds=1)
        expired = create_key(session, person.id, "old", expires_at=past)
    assert api.get("/api/accounts", headers=person.headers).status_code == 200
    scene.run('UPDATE api_keys SET "revokedAt" = "createdAt" WHERE name = \'test\'')
    assert api.get("/api/accounts", headers=person.headers).status_code == 401
    answer = api.get("/api/accounts", headers={"Authorization": f"Bearer {expired}"})
    assert answer.status_code == 401


def test_a_key_is_kept_as_a_hash_and_its_use_is_noted_once_a_minute(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    key = person.headers["Authorization"].removeprefix("Bearer ")
    assert key.startswith("mtk_")
    [row] = scene.rows("SELECT * FROM api_keys")
    assert row["keyHash"] == hash_key(key)
    assert key not in str(row)
    api.get("/api/accounts", headers=person.headers)
    [first] = scene.rows('SELECT "lastUsedAt" AS used FROM api_keys')
    api.get("/api/accounts", headers=person.headers)
    [second] = scene.rows('SELECT "lastUsedAt" AS used FROM api_keys')
    assert first["used"] is not None
    assert first == second
    scene.run('UPDATE api_keys SET "lastUsedAt" = "lastUsedAt" - interval \'61 seconds\'')
    api.get("/api/accounts", headers=person.headers)
    [third] = scene.rows('SELECT "lastUsedAt" AS used FROM api_keys')
    assert third["used"] >= first["used"]


def test_a_missing_scope_is_403_and_named(api: httpx.Client, scene: Scene) -> None:
    reader = scene.person("publish:read")
    assert api.get("/api/scheduling", headers=reader.headers).status_code == 200
    answer = api.delete("/api/scheduling/c1", headers=reader.headers)
    assert answer.status_code == 403
    assert "schedule:write" in answer.json()["detail"]


def test_an_admin_is_a_verified_address_in_the_list_with_a_key_of_that_scope(
    api: httpx.Client, scene: Scene, admin: Person, person: Person
) -> None:
    """All three are needed; the list and the address are looked at for each request."""
    path = "/api/scheduling/stats"
    assert api.get(path, headers=admin.headers).status_code == 200
    assert api.get(path, headers=person.headers).status_code == 403
    stranger = scene.person("admin")
    assert api.get(path, headers=stranger.headers).status_code == 403
    scene.run('UPDATE users SET "emailVerified" = NULL WHERE id = :id', id=admin.id)
    assert api.get(path, headers=admin.headers).status_code == 403
    scene.run('UPDATE users SET "emailVerified" = "createdAt", email = upper(email)')
    assert api.get(path, headers=admin.headers).status_code == 200

"""`DELETE /api/accounts/{id}`: what it answers, and whose account it touches."""

import httpx

from minitik_dagster.db.types import Platform
from tests.api.scene import Person, Scene


def test_a_disconnect_answers_what_happened_and_what_follows(
    api: httpx.Client, scene: Scene, person: Person, tomorrow: str
) -> None:
    """The post is held, a second call changes nothing, and a new post is refused with the fix."""
    account, content = scene.account(person), scene.content(person)
    wish = {"contentId": content, "accountIds": [account], "scheduledAt": tomorrow}
    made = api.post("/api/scheduling", json=wish, headers=person.headers)
    assert made.status_code == 201, made.text

    answer = api.delete(f"/api/accounts/{account}", headers=person.headers)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    [post] = scene.rows("SELECT id, stage FROM publications")
    assert post["stage"] == "held"
    assert (told["held"], told["cancelled"], told["already"]) == ([post["id"]], [], False)
    assert "erased" in told["later"]

    again = api.delete(f"/api/accounts/{account}", headers=person.headers).json()
    assert (again["held"], again["already"]) == ([], True)
    assert len(scene.rows("SELECT id FROM outbox WHERE kind = 'leave_account'")) == 1

    other = {**wish, "contentId": scene.content(person)}
    refused = api.post("/api/scheduling", json=other, headers=person.headers)
    assert refused.status_code == 422
    assert "REVOKED" in refused.json()["errors"][0]["message"]


def test_posts_are_cancelled_when_the_query_asks_for_it(
    api: httpx.Client, scene: Scene, person: Person, tomorrow: str
) -> None:
    account, content = scene.account(person, Platform.YOUTUBE), scene.content(person)
    wish = {"contentId": content, "accountIds": [account], "scheduledAt": tomorrow}
    assert api.post("/api/scheduling", json=wish, headers=person.headers).status_code == 201
    told = api.delete(f"/api/accounts/{account}?posts=cancel", headers=person.headers).json()
    assert len(told["cancelled"]) == 1
    assert scene.rows("SELECT stage FROM publications") == [{"stage": "cancelled"}]


def test_another_persons_account_is_not_found_and_nothing_changes(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """404 for what is somebody else's, as for what is not there; 400 for an unknown wish."""
    account = scene.account(scene.person())
    before = scene.fingerprint()
    for path in (f"/api/accounts/{account}", "/api/accounts/none"):
        assert api.delete(path, headers=person.headers).status_code == 404
    assert scene.fingerprint() == before
    mine = scene.account(person)
    before = scene.fingerprint()
    answer = api.delete(f"/api/accounts/{mine}?posts=keep", headers=person.headers)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "posts"
    assert scene.fingerprint() == before


def test_a_key_without_the_scope_disconnects_nothing(api: httpx.Client, scene: Scene) -> None:
    reader = scene.person("accounts:read")
    account = scene.account(reader)
    assert api.delete(f"/api/accounts/{account}", headers=reader.headers).status_code == 403
    assert scene.rows("SELECT status FROM accounts") == [{"status": "CONNECTED"}]

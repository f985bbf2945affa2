"""`DELETE /api/publishing/{contentId}` and what cancel and move tell of the preparation."""

import httpx
import pytest

from minitik_dagster.db.types import Platform
from tests.api.scene import Person, Scene

HANDLE = (
    'INSERT INTO handles (id, "publicationId", "accountId", platform, state, revision, progress, '
    '"createdAt", "updatedAt") SELECT \'h-\' || id, id, "accountId", platform, \'active\', '
    'revision, \'{}\', "createdAt", "createdAt" FROM publications'
)


@pytest.fixture
def world(scene: Scene) -> None:
    """The API's settings name the real platforms, so the database is of the live world."""
    scene.run("UPDATE settings SET value = '\"live\"' WHERE key = 'world'")


@pytest.fixture
def scheduled(api: httpx.Client, scene: Scene, person: Person, tomorrow: str) -> dict[str, str]:
    """A job on all three platforms whose posts are prepared; its ids."""
    content = scene.content(person)
    accounts = [scene.account(person, platform) for platform in Platform]
    body = {"contentId": content, "accountIds": accounts, "scheduledAt": tomorrow}
    answer = api.post("/api/scheduling", headers=person.headers, json=body)
    assert answer.status_code == 201, answer.text
    scene.run("UPDATE publications SET stage = 'prepared', status = 'PUBLISHING'")
    scene.run(HANDLE)
    return {"content": content, "job": answer.json()["scheduledJobId"]}


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("way", ["DELETE /api/publishing/{}", "POST /api/publishing/{}/rollback"])
def test_what_was_not_sent_is_cancelled_and_the_content_a_draft_again(
    api: httpx.Client, scene: Scene, person: Person, scheduled: dict[str, str], way: str
) -> None:
    """200 with an outcome per post; asking again answers the same state and changes no stage."""
    method, path = way.format(scheduled["content"]).split()
    answer = api.request(method, path, headers=person.headers)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["contentId"] == scheduled["content"]
    assert told["status"] == "DRAFT"
    assert {post["outcome"] for post in told["publications"]} == {"cancelled"}
    assert all(post["instruction"] for post in told["publications"])
    assert scene.rows('SELECT status, "scheduledAt" AS at FROM contents') == [
        {"status": "DRAFT", "at": None}
    ]
    assert scene.rows("SELECT status FROM scheduled_jobs") == [{"status": "CANCELLED"}]
    [note] = scene.rows("SELECT kind, payload FROM outbox")
    [youtube] = scene.rows("SELECT id FROM handles WHERE platform = 'YOUTUBE'")
    assert note == {"kind": "discard_handle", "payload": {"handleId": youtube["id"]}}

    again = api.request(method, path, headers=person.headers).json()
    assert again["status"] == "DRAFT"
    assert {post["outcome"] for post in again["publications"]} == {"ended"}


@pytest.mark.usefixtures("world")
def test_an_open_commit_is_409_with_the_truth_and_nothing_changes(
    api: httpx.Client, scene: Scene, person: Person, scheduled: dict[str, str]
) -> None:
    """While one post is being sent, none of the content's posts is touched."""
    scene.run(
        'INSERT INTO publication_steps (id, "publicationId", "accountId", platform, name, attempt, '
        '"canPublish", "leaseToken", revision, "startedAt", "policyVersion") '
        "SELECT 's1', id, \"accountId\", platform, 'commit', 1, true, 0, 0, \"createdAt\", 'v1' "
        "FROM publications WHERE platform = 'TIKTOK'"
    )
    before = scene.fingerprint()
    answer = api.delete(f"/api/publishing/{scheduled['content']}", headers=person.headers)
    assert answer.status_code == 409
    assert answer.json()["state"] == "committing"
    assert "being sent" in answer.json()["detail"]
    assert scene.fingerprint() == before


@pytest.mark.usefixtures("world")
def test_a_job_of_the_old_queue_is_409_and_names_adopt(
    api: httpx.Client, scene: Scene, person: Person, scheduled: dict[str, str]
) -> None:
    """An old worker may post it yet: nothing is called rolled back while that is so."""
    scene.run("DELETE FROM handles")
    scene.run("DELETE FROM publications")
    answer = api.delete(f"/api/publishing/{scheduled['content']}", headers=person.headers)
    assert answer.status_code == 409
    assert "minitik adopt" in answer.json()["detail"]


@pytest.mark.usefixtures("world")
def test_a_failed_content_is_a_draft_again_and_cannot_be_replayed(
    api: httpx.Client, scene: Scene, person: Person, scheduled: dict[str, str]
) -> None:
    """What failed counts no more, and its dead letter is closed."""
    scene.run("UPDATE publications SET stage = 'failed', status = 'FAILED'")
    scene.run(
        'INSERT INTO dead_letters (id, "publicationId", "contentId", "accountId", platform, code, '
        'reason, fix, story, "createdAt") SELECT \'d-\' || id, id, "contentId", "accountId", '
        "platform, 'x', 'y', 'z', '[]', \"createdAt\" FROM publications"
    )
    answer = api.delete(f"/api/publishing/{scheduled['content']}", headers=person.headers).json()
    assert answer["status"] == "DRAFT"
    assert {post["outcome"] for post in answer["publications"]} == {"ended"}
    assert scene.rows("SELECT DISTINCT resolution FROM dead_letters") == [
        {"resolution": "rolled back"}
    ]


@pytest.mark.usefixtures("world")
def test_a_rollback_needs_the_right_to_publish_and_ones_own_content(
    api: httpx.Client, scene: Scene, scheduled: dict[str, str]
) -> None:
    """403 for a reader's key, 404 for a stranger: unknown and foreign look alike."""
    path = f"/api/publishing/{scheduled['content']}"
    reader = scene.person("publish:read")
    assert api.delete(path, headers=reader.headers).status_code == 403
    stranger = scene.person()
    assert api.delete(path, headers=stranger.headers).status_code == 404
    assert api.delete("/api/publishing/nothing", headers=stranger.headers).status_code == 404


def test_a_program_pointed_at_other_platforms_than_the_database_asks_none(
    api: httpx.Client, scene: Scene, person: Person, scheduled: dict[str, str]
) -> None:
    """A sandbox's database is never taken to the real platforms: 503, nothing changed."""
    scene.run("UPDATE settings SET value = '\"sandbox\"' WHERE key = 'world'")
    before = scene.fingerprint()
    answer = api.delete(f"/api/publishing/{scheduled['content']}", headers=person.headers)
    assert answer.status_code == 503
    assert scene.fingerprint() == before


@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
def test_cancel_and_move_tell_what_becomes_of_the_preparation(
    api: httpx.Client, scene: Scene, person: Person, scheduled: dict[str, str], method: str
) -> None:
    """A line per prepared post; only the private video needs a call, noted in the same transaction."""
    body = {"priority": "HIGH"} if method == "PATCH" else None
    answer = api.request(
        method, f"/api/scheduling/{scheduled['job']}", headers=person.headers, json=body
    )
    assert answer.status_code == 200, answer.text
    undone = {item["platform"]: item["text"] for item in answer.json()["undone"]}
    assert set(undone) == {"YOUTUBE", "TIKTOK", "INSTAGRAM"}
    assert "private video is deleted" in undone["YOUTUBE"]
    assert "container" in undone["INSTAGRAM"]
    assert "hour" in undone["TIKTOK"]
    assert [row["kind"] for row in scene.rows("SELECT kind FROM outbox")] == ["discard_handle"]
    assert scene.rows("SELECT DISTINCT state FROM handles") == [{"state": "dropped"}]

"""`/api/dead-letters` and `/api/queues`: what failed, replaying it, and pausing."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from minitik_dagster.db.types import Platform, to_db
from minitik_dagster.ids import new_id
from tests.api.scene import Person, Scene

DAY = 86_400


def failed_post(scene: Scene, owner: Person, platform: Platform = Platform.YOUTUBE) -> str:
    """A post that was too late two days ago; returns its dead letter's id."""
    letter = new_id()
    values = {
        "publication": new_id(),
        "content": scene.content(owner),
        "account": scene.account(owner, platform),
        "platform": platform.value,
        "due": to_db(datetime.now(UTC) - timedelta(days=2)),
    }
    scene.run(
        'INSERT INTO publications (id, "contentId", "accountId", platform, status, stage, "dueAt", '
        '"prepareAt", error, "errorCode", "createdAt", "updatedAt", revision, "leaseToken") VALUES '
        "(:publication, :content, :account, CAST(:platform AS \"Platform\"), 'FAILED', 'failed', "
        ":due, :due, 'late', 'too_late', :due, :due, 0, 1)",
        **values,
    )
    scene.run(
        'INSERT INTO dead_letters (id, "publicationId", "contentId", "accountId", platform, code, '
        'reason, fix, story, "createdAt") VALUES (:id, :publication, :content, :account, '
        "CAST(:platform AS \"Platform\"), 'too_late', 'it was late', 'schedule it again', "
        "'[]', :due)",
        id=letter,
        **values,
    )
    return letter


@pytest.fixture
def letter(scene: Scene, person: Person) -> str:
    """A failure of the person's."""
    return failed_post(scene, person)


def test_a_failure_is_listed_and_read_by_its_owner_and_by_an_admin_only(
    api: httpx.Client, scene: Scene, person: Person, admin: Person, letter: str
) -> None:
    """A stranger's list is empty, and the id looks unknown; an admin sees everybody's."""
    stranger = scene.person()
    for who, seen in ((person, [letter]), (admin, [letter]), (stranger, [])):
        items = api.get("/api/dead-letters", headers=who.headers).json()["items"]
        assert [item["id"] for item in items] == seen
    told = api.get(f"/api/dead-letters/{letter}", headers=person.headers).json()
    assert (told["code"], told["reason"], told["fix"]) == (
        "too_late",
        "it was late",
        "schedule it again",
    )
    assert told["createdAt"].endswith("Z")
    assert api.get(f"/api/dead-letters/{letter}", headers=stranger.headers).status_code == 404


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"code": "too_late"}, 1),
        ({"code": "other"}, 0),
        ({"platform": "YOUTUBE"}, 1),
        ({"platform": "TIKTOK"}, 0),
        ({"from": "2026-01-01T00:00:00+01:00"}, 1),
        ({"to": "2026-01-01T00:00:00Z"}, 0),
    ],
)
def test_the_list_narrows_by_cause_platform_and_time(
    api: httpx.Client, person: Person, letter: str, query: dict[str, str], found: int
) -> None:
    answer = api.get("/api/dead-letters", headers=person.headers, params=query)
    assert len(answer.json()["items"]) == found, letter


def test_a_replay_plans_unless_it_is_told_to_act(
    api: httpx.Client, scene: Scene, person: Person, letter: str
) -> None:
    """`dryRun` is true by default and changes no row; the same body with false does what was planned."""
    body = {"code": "too_late", "maxLateness": 3 * DAY}
    before = scene.fingerprint()
    plan = api.post("/api/dead-letters/replay", headers=person.headers, json=body).json()
    assert scene.fingerprint() == before
    assert (plan["dryRun"], plan["counts"], plan["more"]) == (True, {"publish": 1}, False)
    [item] = plan["items"]
    assert (item["deadLetterId"], item["action"]) == (letter, "publish")
    done = api.post(
        "/api/dead-letters/replay", headers=person.headers, json=body | {"dryRun": False}
    ).json()
    assert (done["dryRun"], done["counts"]) == (False, {"publish": 1})
    [row] = scene.rows("SELECT stage, status FROM publications")
    assert (row["stage"], row["status"]) == ("scheduled", "QUEUED")
    [entry] = scene.rows("SELECT actor, action FROM audit_log")
    assert entry == {"actor": person.id, "action": "dead_letter.replay"}
    again = api.post(
        "/api/dead-letters/replay",
        headers=person.headers,
        json={"ids": [letter], "dryRun": False},
    ).json()
    assert again["counts"] == {"skip_moved": 1}


def test_nobody_replays_anothers_posts(
    api: httpx.Client, scene: Scene, letter: str, admin: Person
) -> None:
    """By id it is not found; by cause nothing fits; an admin may."""
    stranger = scene.person()
    replay = "/api/dead-letters/replay"
    before = scene.fingerprint()
    body = {"ids": [letter], "dryRun": False}
    assert api.post(replay, headers=stranger.headers, json=body).status_code == 404
    by_cause = {"code": "too_late", "maxLateness": 3 * DAY, "dryRun": False}
    assert api.post(replay, headers=stranger.headers, json=by_cause).json()["items"] == []
    assert scene.fingerprint() == before
    assert api.post(replay, headers=admin.headers, json=by_cause).json()["counts"] == {"publish": 1}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"dryRun": False},
        {"platform": "MYSPACE"},
        {"ids": "all"},
        {"code": "too_late", "at": "2020-01-01T00:00:00Z"},
        {"code": "too_late", "from": "2026-01-01T00:00:00"},
        {"code": "too_late", "maxLateness": 0},
    ],
)
def test_a_replay_that_means_nothing_is_refused(
    api: httpx.Client, scene: Scene, person: Person, letter: str, body: dict[str, object]
) -> None:
    """400 with the field; nothing changes."""
    before = scene.fingerprint()
    answer = api.post("/api/dead-letters/replay", headers=person.headers, json=body)
    assert answer.status_code == 400, (answer.text, letter)
    assert answer.json()["errors"][0]["field"]
    assert scene.fingerprint() == before


def test_an_admin_pauses_and_resumes_a_scope(
    api: httpx.Client, scene: Scene, admin: Person, letter: str
) -> None:
    """The pause is told with who and why; the posts of the scope wait; resume lets them go."""
    assert letter
    scene.run("UPDATE publications SET stage = 'scheduled', status = 'QUEUED'")
    body = {"platform": "YouTube", "reason": "spring cleaning"}
    cost = api.post("/api/queues/pause", headers=admin.headers, json=body)
    assert cost.json() == {"paused": 1, "waiting": 1, "creators": 1}
    [told] = api.get("/api/queues", headers=admin.headers).json()["pauses"]
    assert (told["scope"], told["reason"], told["actor"]) == (
        "platform:youtube",
        "spring cleaning",
        admin.id,
    )
    [row] = scene.rows('SELECT stage, "holdReason" AS why FROM publications')
    assert (row["stage"], row["why"]) == ("paused", "youtube is paused: spring cleaning")
    done = api.post("/api/queues/resume", headers=admin.headers, json={"platform": "youtube"})
    assert done.json() == {"released": 1, "tooLate": 1}
    again = api.post("/api/queues/resume", headers=admin.headers, json={"platform": "youtube"})
    assert again.status_code == 404


def test_pausing_is_for_admins_and_names_one_scope(
    api: httpx.Client, scene: Scene, person: Person, admin: Person
) -> None:
    before = scene.fingerprint()
    refused = api.post("/api/queues/pause", headers=person.headers, json={"all": True})
    assert refused.status_code == 403
    for body in ({}, {"all": True, "platform": "tiktok"}, {"platform": "myspace"}):
        answer = api.post("/api/queues/pause", headers=admin.headers, json=body)
        assert answer.status_code == 400, answer.text
    nobody = api.post("/api/queues/pause", headers=admin.headers, json={"accountId": "nobody"})
    assert nobody.status_code == 404
    assert scene.fingerprint() == before

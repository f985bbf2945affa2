"""Changing and deleting contents over HTTP: versions, posts that stand against it, and the bucket."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import sessionmaker

from minitik_dagster.local.ports import free_port
from minitik_dagster.media.cleaning import Cleaner, note_object
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene
from tests.api.server import serving

BULK = "/api/content/bulk/delete"


@pytest.fixture
def settings(settings: Settings, s3_endpoint: str, s3_bucket: str) -> Settings:
    """With a bucket."""
    hosts = [name for name in Settings.model_fields if name.endswith("_base_url")]
    loopback = {name: "http://127.0.0.1:9" for name in hosts if not name.startswith("media")}
    return settings.model_copy(
        update=loopback | {"aws_endpoint_url_s3": s3_endpoint, "aws_s3_bucket": s3_bucket}
    )


@pytest.fixture
def store(s3_endpoint: str, s3_bucket: str) -> ObjectStore:
    """The bucket."""
    return ObjectStore(bucket=s3_bucket, endpoint_url=s3_endpoint)


@pytest.fixture
def api(settings: Settings, person: Person) -> Iterator[httpx.Client]:
    """The API, called by the person."""
    with serving(settings) as client:
        client.headers.update(person.headers)
        yield client


def _stored(scene: Scene, store: ObjectStore, person: Person) -> tuple[str, str]:
    """A content whose file is in the bucket; its id and key."""
    content = scene.content(person)
    [row] = scene.rows('SELECT "filePath" AS key FROM contents WHERE id = :id', id=content)
    store.put(row["key"], b"video", "video/mp4")
    return content, row["key"]


def _schedule(api: httpx.Client, scene: Scene, person: Person, content: str, at: str) -> str:
    body = {
        "contentId": content,
        "accountIds": [scene.account(person)],
        "scheduledAt": at,
        "timezone": "UTC",
    }
    made = api.post("/api/scheduling", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["publications"][0]["id"])


@contextmanager
def _held(scene: Scene, content: str) -> Iterator[Callable[[int], None]]:
    """Hold a content's lock; yields what waits until so many of the API's transactions wait for it."""
    waiting = """
        SELECT count(*) AS n FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
    """
    with scene.engine.begin() as connection:
        connection.execute(
            text("SELECT 1 FROM contents WHERE id = :id FOR UPDATE"), {"id": content}
        )

        def wait_for(count: int) -> None:
            deadline = time.monotonic() + 60
            while scene.rows(waiting)[0]["n"] < count:
                assert time.monotonic() < deadline

        yield wait_for


def _gone_from_bucket(scene: Scene, store: ObjectStore, key: str) -> bool:
    """Whether the object went, by a note that is done: the answer does not wait for it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        [row] = scene.rows('SELECT "doneAt" AS done FROM outbox WHERE id = :id', id=f"object:{key}")
        if row["done"] is not None:
            break
    return store.head(key) is None


def test_a_change_by_version_is_made_once(api: httpx.Client, scene: Scene, person: Person) -> None:
    """Of eight who read the same version one changes it; the others are 412 and change nothing."""
    content = scene.content(person)
    path = f"/api/content/{content}"
    read = api.get(path)
    tag = read.headers["ETag"]

    def change(number: int) -> httpx.Response:
        return api.patch(path, json={"title": f"Title {number}"}, headers={"If-Match": tag})

    with ThreadPoolExecutor(8) as threads:
        with _held(scene, content) as wait_for:
            asked = [threads.submit(change, number) for number in range(8)]
            wait_for(8)
        answers = [each.result() for each in asked]
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    [done] = [answer for answer in answers if answer.status_code == 200]
    now = api.get(path)
    assert now.json() | {"thumbnailUrl": None} == done.json() | {"thumbnailUrl": None}
    assert now.headers["ETag"] == done.headers["ETag"] != tag
    refused = next(answer for answer in answers if answer.status_code == 412).json()
    assert refused["type"] == "/problems/precondition-failed"
    for stale in (f"W/{done.headers['ETag']}", "nonsense", '"x"'):
        assert api.patch(path, json={"title": "x"}, headers={"If-Match": stale}).status_code == 412
    several = f'"x", {done.headers["ETag"]}'
    kept = api.patch(path, json={"description": "new"}, headers={"If-Match": several})
    assert (kept.json()["title"], kept.json()["description"]) == (done.json()["title"], "new")
    assert api.patch(path, json={"description": None}).json()["description"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": ""}, "title"),
        ({"title": None}, "title"),
        ({"title": "x" * 501}, "title"),
        ({"description": "a\0b"}, "description"),
        ({"description": "x" * 5_001}, "description"),
        ({"status": "PUBLISHED"}, "status"),
        ({"fileSize": 5}, "fileSize"),
    ],
)
def test_a_bad_change_names_its_field_and_changes_nothing(
    api: httpx.Client, scene: Scene, person: Person, body: dict[str, object], field: str
) -> None:
    """400 with field and fix."""
    path = f"/api/content/{scene.content(person)}"
    before = scene.fingerprint()
    answer = api.patch(path, json=body)
    assert answer.status_code == 400, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert scene.fingerprint() == before


def test_a_deleted_content_is_gone_with_its_media(
    api: httpx.Client, scene: Scene, person: Person, store: ObjectStore
) -> None:
    """From the library, from scheduling and from the bucket; its row stays for the history."""
    content, key = _stored(scene, store, person)
    stale = api.delete(f"/api/content/{content}", headers={"If-Match": '"x"'})
    assert stale.status_code == 412
    answer = api.delete(f"/api/content/{content}")
    assert answer.json() == {"contentId": content, "cancelled": [], "undone": []}
    assert _gone_from_bucket(scene, store, key)
    assert api.get(f"/api/content/{content}").status_code == 404
    assert api.delete(f"/api/content/{content}").status_code == 404
    assert api.get("/api/content").json()["total"] == 0
    [row] = scene.rows('SELECT "deletedAt" IS NULL AS there FROM contents')
    assert row["there"] is False
    [act] = scene.rows("SELECT actor, subject FROM audit_log WHERE action = 'content.delete'")
    assert act == {"actor": person.id, "subject": content}


def test_an_open_upload_is_deleted_with_its_draft(api: httpx.Client, scene: Scene) -> None:
    body = {"title": "v", "filename": "v.mp4", "mimeType": "video/mp4", "fileSize": 5}
    begun = api.post("/api/content", json=body).json()
    assert api.delete(f"/api/content/{begun['contentId']}").status_code == 200
    assert scene.rows("SELECT 1 FROM contents") == []
    assert scene.rows("SELECT status FROM upload_sessions") == [{"status": "aborted"}]


def test_what_is_scheduled_is_deleted_only_when_told_so(
    api: httpx.Client, scene: Scene, person: Person, store: ObjectStore, tomorrow: str
) -> None:
    """409 with the state; `posts=cancel` cancels first, and only then does the media go."""
    content, key = _stored(scene, store, person)
    post = _schedule(api, scene, person, content, tomorrow)
    before = scene.fingerprint()
    refused = api.delete(f"/api/content/{content}")
    assert (refused.status_code, refused.json()["state"]) == (409, "scheduled")
    assert "posts=cancel" in refused.json()["detail"]
    assert scene.fingerprint() == before
    answer = api.delete(f"/api/content/{content}", params={"posts": "cancel"})
    assert answer.json()["cancelled"] == [post]
    assert scene.rows("SELECT stage FROM publications") == [{"stage": "cancelled"}]
    assert scene.rows("SELECT status::text AS status FROM scheduled_jobs") == [
        {"status": "CANCELLED"}
    ]
    assert _gone_from_bucket(scene, store, key)


@pytest.mark.parametrize("stage", ["committing", "confirming", "unknown", "review"])
def test_what_is_being_published_is_not_deleted_by_anybody(
    api: httpx.Client, scene: Scene, person: Person, store: ObjectStore, tomorrow: str, stage: str
) -> None:
    """409 with the state, whatever is said of posts; the file stays where it is."""
    content, key = _stored(scene, store, person)
    _schedule(api, scene, person, content, tomorrow)
    scene.run("UPDATE publications SET stage = :stage, status = 'PUBLISHING'", stage=stage)
    before = scene.fingerprint()
    for posts in ("refuse", "cancel"):
        answer = api.delete(f"/api/content/{content}", params={"posts": posts})
        assert (answer.status_code, answer.json()["state"]) == (409, stage)
        [item] = api.post(BULK, json={"ids": [content], "posts": posts}).json()["results"]
        assert (item["status"], item["problem"]["state"]) == (409, stage)
    assert scene.fingerprint() == before
    assert store.head(key) is not None


def test_what_the_old_system_may_post_is_not_deleted(
    api: httpx.Client, scene: Scene, person: Person, tomorrow: str
) -> None:
    """A legacy row without a stage: 409 that names `adopt`."""
    content = scene.content(person)
    _schedule(api, scene, person, content, tomorrow)
    scene.run("UPDATE publications SET stage = NULL")
    answer = api.delete(f"/api/content/{content}", params={"posts": "cancel"})
    assert (answer.status_code, answer.json()["state"]) == (409, "legacy")
    assert "minitik adopt" in answer.json()["detail"]


def test_media_that_a_post_needs_is_kept_even_where_it_was_noted(
    api: httpx.Client, scene: Scene, person: Person, store: ObjectStore, tomorrow: str
) -> None:
    """Whatever took the content away without asking: the object goes when its posts have ended."""
    content, key = _stored(scene, store, person)
    _schedule(api, scene, person, content, tomorrow)
    scene.run('UPDATE contents SET "deletedAt" = "createdAt"')
    sessions = sessionmaker(scene.engine)
    for stage, there in (
        ("scheduled", True),
        ("review", True),
        ("confirming", True),
        ("live", False),
    ):
        scene.run("UPDATE publications SET stage = :stage", stage=stage)
        with sessions.begin() as session:
            note_object(session, content, key)
        assert Cleaner(sessions, store).work().kept == (1 if there else 0)
        assert (store.head(key) is not None) is there, stage


@pytest.mark.parametrize(("first", "told"), [("schedule", (201, 409)), ("delete", (404, 200))])
def test_of_deleting_and_scheduling_at_once_one_works(
    api: httpx.Client,
    scene: Scene,
    person: Person,
    tomorrow: str,
    first: str,
    told: tuple[int, int],
) -> None:
    """Whichever comes first: never a scheduled post of a content that is gone."""
    content = scene.content(person)
    body = {
        "contentId": content,
        "accountIds": [scene.account(person)],
        "scheduledAt": tomorrow,
        "timezone": "UTC",
    }
    calls: dict[str, Callable[[], httpx.Response]] = {
        "schedule": lambda: api.post("/api/scheduling", json=body),
        "delete": lambda: api.delete(f"/api/content/{content}"),
    }
    asked = {}
    with ThreadPoolExecutor(2) as threads:
        with _held(scene, content) as wait_for:
            for number, name in enumerate(sorted(calls, key=lambda name: name != first)):
                asked[name] = threads.submit(calls[name])
                wait_for(number + 1)
        answers = {name: each.result().status_code for name, each in asked.items()}
    assert (answers["schedule"], answers["delete"]) == told


def test_many_are_deleted_each_on_its_own(
    api: httpx.Client, scene: Scene, person: Person, tomorrow: str
) -> None:
    """207 with each one's result in the order asked for; another person's is not there."""
    mine, busy, theirs = scene.content(person), scene.content(person), scene.content(scene.person())
    _schedule(api, scene, person, busy, tomorrow)
    answer = api.post(BULK, json={"ids": [busy, theirs, mine, "unknown"]})
    assert answer.status_code == 207
    body = answer.json()
    assert [item["status"] for item in body["results"]] == [409, 404, 200, 404]
    assert [item["index"] for item in body["results"]] == [0, 1, 2, 3]
    assert (body["deleted"], body["failed"]) == (1, 3)
    assert body["results"][1]["problem"]["detail"] == body["results"][3]["problem"]["detail"]
    kept = scene.rows('SELECT id FROM contents WHERE "deletedAt" IS NULL ORDER BY id')
    assert [row["id"] for row in kept] == sorted([busy, theirs])
    again = api.post(BULK, json={"ids": [busy], "posts": "cancel"}).json()
    assert (again["deleted"], len(again["results"][0]["cancelled"])) == (1, 1)


@pytest.mark.parametrize("ids", [[], ["a", "a"], ["x"] * 101, "a", [1]])
def test_a_list_that_cannot_be_is_refused_whole(
    api: httpx.Client, scene: Scene, person: Person, ids: object
) -> None:
    """400 that names `ids`."""
    answer = api.post(BULK, json={"ids": ids})
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["field"].startswith("ids")


def test_a_bucket_that_is_down_does_not_hinder_deleting(
    settings: Settings, scene: Scene, person: Person
) -> None:
    """The note stays in the outbox, with the reason; `tidy_uploads` carries it out later."""
    content = scene.content(person)
    nowhere = settings.model_copy(update={"aws_endpoint_url_s3": f"http://127.0.0.1:{free_port()}"})
    with serving(nowhere) as api:
        answer = api.delete(f"/api/content/{content}", headers=person.headers)
        assert answer.status_code == 200
    [note] = scene.rows(
        "SELECT kind, \"doneAt\" AS done, payload ->> 'contentId' AS id FROM outbox"
    )
    assert note == {"kind": "delete_object", "done": None, "id": content}

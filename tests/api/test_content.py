"""`/api/content` from end to end: real server parts, real videos, real refusals."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import create_key
from minitik_dagster.api.app import create_app
from minitik_dagster.clock import SystemClock
from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.models import Content, User
from minitik_dagster.db.tables import UploadPart, UploadSession
from minitik_dagster.db.types import SubscriptionTier
from minitik_dagster.ids import new_id
from minitik_dagster.local.ports import free_port
from minitik_dagster.settings import Settings
from tests.media.videos import make_video

VIDEO = make_video(seconds=4, seed=3)
# A free box behind the video makes a valid file of two parts.
_SIZE = 11 * 2**20
LARGE = VIDEO + (_SIZE - len(VIDEO)).to_bytes(4, "big") + b"free"
LARGE += bytes(_SIZE - len(LARGE))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Eyes on the database, besides the API."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


def _person(engine: Engine, *scopes: str) -> dict[str, str]:
    """A new person's headers: a key with these scopes."""
    now = SystemClock().now()
    person = new_id()
    with Session(engine) as session, session.begin():
        session.add(
            User(
                id=person,
                email=f"{person}@example.test",
                subscription_tier=SubscriptionTier.FREE,
                created_at=now,
                updated_at=now,
            )
        )
        session.flush()
        key = create_key(session, person, "test", scopes=scopes)
    return {"Authorization": f"Bearer {key}"}


def _client(database_url: str, endpoint: str, bucket: str, **more: object) -> TestClient:
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "aws_endpoint_url_s3": endpoint,
            "aws_s3_bucket": bucket,
            **more,
        }
    )
    return TestClient(create_app(settings), base_url="http://127.0.0.1:8000")


@pytest.fixture
def api(
    database_url: str, s3_endpoint: str, s3_bucket: str, engine: Engine
) -> Iterator[TestClient]:
    """The application with a person's key."""
    with _client(database_url, s3_endpoint, s3_bucket) as client:
        client.headers.update(_person(engine))
        yield client


def _counts(engine: Engine) -> list[int]:
    with Session(engine) as session:
        return [
            session.scalar(select(func.count()).select_from(table)) or 0
            for table in (Content, UploadSession, UploadPart)
        ]


def _announce(size: int, **changes: object) -> dict[str, object]:
    body = {"title": "A walk", "filename": "walk.mp4", "mimeType": "video/mp4", "fileSize": size}
    return {**body, **changes}


def _begin(api: TestClient, size: int, path: str = "/api/content") -> dict[str, Any]:
    answer = api.post(path, json=_announce(size))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _send(api: TestClient, upload: dict[str, Any], data: bytes) -> None:
    for chunk in upload["chunkUrls"]:
        start = upload["chunkSize"] * (chunk["partNumber"] - 1)
        put = httpx2.put(chunk["url"], content=data[start : start + chunk["length"]])
        path = f"/api/content/upload/{upload['contentId']}/chunk/{chunk['partNumber']}"
        answer = api.put(path, json={"etag": put.headers["ETag"]})
        assert answer.status_code == 200, answer.text


def _problem(answer: Any, status: int, field: str) -> dict[str, Any]:
    """The answer is a problem of this status that names the field and a fix."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["error"]
    assert field in [error["field"] for error in problem["errors"]]
    assert all(error["fix"] for error in problem["errors"])
    return problem


@pytest.mark.parametrize("path", ["/api/content", "/api/content/upload/init"])
def test_a_video_travels_from_announcement_to_library(api: TestClient, path: str) -> None:
    """Begin, send parts to their URLs, confirm, complete; then it stands in the library."""
    upload = _begin(api, len(LARGE), path)
    assert set(upload) == {
        "contentId",
        "uploadId",
        "key",
        "chunkUrls",
        "chunkSize",
        "totalChunks",
    }
    assert upload["totalChunks"] == len(upload["chunkUrls"]) == 2
    _send(api, upload, LARGE)
    done = api.post(f"/api/content/upload/{upload['contentId']}/complete")
    assert done.status_code == 200, done.text
    body = done.json()
    assert body["contentId"] == body["id"] == upload["contentId"]
    assert body["status"] == "DRAFT"
    assert body["fileSize"] == str(len(LARGE))
    assert (body["duration"], body["width"], body["height"]) == (4, 360, 640)
    assert body["media"]["videoCodec"] == "h264"
    assert {v["platform"]: v["accepted"] for v in body["verdicts"]} == {
        "TIKTOK": True,
        "INSTAGRAM": True,
        "YOUTUBE": True,
    }
    assert httpx2.get(body["thumbnailUrl"]).content.startswith(b"\xff\xd8\xff")
    read = api.get(f"/api/content/{upload['contentId']}").json()
    assert read["verdicts"] == body["verdicts"]
    assert read["createdAt"].endswith("Z")
    assert len(read["createdAt"]) == len("2026-11-24T08:30:00.000Z")
    (item,) = api.get("/api/content").json()["items"]
    assert item["id"] == upload["contentId"]
    again = api.post(f"/api/content/upload/{upload['contentId']}/complete")
    assert again.status_code == 200
    assert again.json()["verdicts"] == body["verdicts"]


def test_an_upload_is_resumed_and_aborted(api: TestClient, engine: Engine) -> None:
    """Resume signs the missing parts anew; abort leaves neither draft nor parts."""
    upload = _begin(api, len(LARGE))
    base = f"/api/content/upload/{upload['contentId']}"
    put = httpx2.put(upload["chunkUrls"][0]["url"], content=LARGE[: upload["chunkSize"]])
    confirmed = api.put(f"{base}/chunk/1", json={"etag": put.headers["ETag"]})
    assert confirmed.json() == {
        "contentId": upload["contentId"],
        "partNumber": 1,
        "confirmedParts": [1],
        "totalChunks": 2,
    }
    resumed = api.get(f"{base}/resume").json()
    assert [chunk["partNumber"] for chunk in resumed["chunkUrls"]] == [2]
    assert [part["partNumber"] for part in resumed["parts"]] == [1]
    aborted = api.delete(f"{base}/abort")
    assert aborted.json()["status"] == "aborted"
    assert _counts(engine) == [0, 1, 0]
    refused = api.get(f"{base}/resume")
    assert refused.status_code == 409
    assert refused.json()["state"] == "aborted"


def test_an_announcement_sent_again_begins_nothing_again(api: TestClient, engine: Engine) -> None:
    """Idempotency-Key: the same body goes on with the same upload, another body is refused."""
    key = {"Idempotency-Key": "one"}
    body = _announce(len(LARGE))
    first = api.post("/api/content", json=body, headers=key).json()
    put = httpx2.put(first["chunkUrls"][0]["url"], content=LARGE[: first["chunkSize"]])
    path = f"/api/content/upload/{first['contentId']}/chunk/1"
    api.put(path, json={"etag": put.headers["ETag"]})
    again = api.post("/api/content", json=body, headers=key)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert again.json()["uploadId"] == first["uploadId"]
    assert [chunk["partNumber"] for chunk in again.json()["chunkUrls"]] == [2]
    other = api.post("/api/content", json=_announce(5), headers=key)
    _problem(other, 422, "Idempotency-Key")
    odd = api.post(
        "/api/content",
        content=json.dumps(_announce(5, title="\ud800")),
        headers={"Content-Type": "application/json", **key},
    )
    _problem(odd, 400, "title")
    assert _counts(engine) == [1, 1, 1]
    api.delete(f"/api/content/upload/{first['contentId']}/abort")
    assert api.post("/api/content", json=body, headers=key).json()["state"] == "aborted"


def test_a_persons_quota_holds_also_for_uploads_that_begin_at_once(
    database_url: str, s3_endpoint: str, s3_bucket: str, engine: Engine
) -> None:
    """422 that says what is free; what was aborted counts no more, and another person's never did."""
    with (
        _client(database_url, s3_endpoint, s3_bucket, minitik_storage_bytes_per_user=1000) as api,
        ThreadPoolExecutor(8) as threads,
    ):
        mine, other = _person(engine), _person(engine)
        begun = list(
            threads.map(
                lambda _: api.post("/api/content", json=_announce(300), headers=mine), range(8)
            )
        )
        assert sorted(answer.status_code for answer in begun) == [201] * 3 + [422] * 5
        refused = next(answer for answer in begun if answer.status_code == 422)
        assert "100 of your 1000 are free" in _problem(refused, 422, "fileSize")["detail"]
        assert api.post("/api/content", json=_announce(1000), headers=other).status_code == 201
        taken = next(answer.json() for answer in begun if answer.status_code == 201)
        api.delete(f"/api/content/upload/{taken['contentId']}/abort", headers=mine)
        assert api.post("/api/content", json=_announce(400), headers=mine).status_code == 201


def test_of_a_hundred_completions_at_once_one_works(api: TestClient, engine: Engine) -> None:
    """One probes; the others are told that it is being completed, or answered the same."""
    upload = _begin(api, len(VIDEO))
    _send(api, upload, VIDEO)
    path = f"/api/content/upload/{upload['contentId']}/complete"
    with ThreadPoolExecutor(100) as threads:
        answers = list(threads.map(lambda _: api.post(path), range(100)))
    conflicts = [answer.json()["state"] for answer in answers if answer.status_code == 409]
    done = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(conflicts) + len(done) == 100
    assert set(conflicts) <= {"completing"}
    assert len(conflicts) >= 1
    assert {body["media"]["sha256"] for body in done} == {hashlib.sha256(VIDEO).hexdigest()}
    assert _counts(engine) == [1, 1, 1]
    assert api.post(path).json()["verdicts"] == done[0]["verdicts"]


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"fileSize": 0}, 400, "fileSize"),
        ({"fileSize": -1}, 400, "fileSize"),
        ({"fileSize": "5"}, 400, "fileSize"),
        ({"fileSize": 1.5}, 400, "fileSize"),
        ({"fileSize": True}, 400, "fileSize"),
        ({"fileSize": 2**30 + 1}, 422, "fileSize"),
        ({"fileSize": 10**40}, 422, "fileSize"),
        ({"mimeType": "text/plain"}, 400, "mimeType"),
        ({"mimeType": "\ud800"}, 400, "mimeType"),
        ({"title": ""}, 400, "title"),
        ({"title": "a\0b"}, 400, "title"),
        ({"title": "\ud800"}, 400, "title"),
        ({"title": None}, 400, "title"),
        ({"filename": "\udfff.mp4"}, 400, "filename"),
        ({"description": "x" * 5001}, 400, "description"),
        ({"chunkSize": 5}, 400, "chunkSize"),
    ],
)
def test_a_bad_announcement_names_field_and_fix_and_changes_nothing(
    api: TestClient, engine: Engine, changes: dict[str, object], status: int, field: str
) -> None:
    """400 for a bad value, 422 for the size limit; a 0-byte file is refused before it is sent."""
    # Written as ASCII, so that half a character can be sent as its escape.
    answer = api.post(
        "/api/content",
        content=json.dumps(_announce(5, **changes)),
        headers={"Content-Type": "application/json"},
    )
    _problem(answer, status, field)
    assert _counts(engine) == [0, 0, 0]


def test_garbage_for_json_is_refused(api: TestClient, engine: Engine) -> None:
    """400, not 500, and nothing changes."""
    for garbage in (b"{", b"\xff\xfe", b"[]", b"null", b""):
        answer = api.post(
            "/api/content", content=garbage, headers={"Content-Type": "application/json"}
        )
        _problem(answer, 400, "body")
    assert _counts(engine) == [0, 0, 0]


def test_a_text_file_named_mp4_is_refused_at_completion(api: TestClient, engine: Engine) -> None:
    """422 with field and fix; the upload is taken back entirely."""
    text = b"This is no video at all.\n" * 20
    upload = _begin(api, len(text))
    _send(api, upload, text)
    answer = api.post(f"/api/content/upload/{upload['contentId']}/complete")
    problem = _problem(answer, 422, "file")
    assert "text" in problem["errors"][0]["message"]
    assert _counts(engine) == [0, 1, 0]
    assert api.get(f"/api/content/{upload['contentId']}").status_code == 404
    assert api.get("/api/content").json()["total"] == 0


def test_a_missing_part_and_a_wrong_etag_are_named_and_change_nothing(
    api: TestClient, engine: Engine
) -> None:
    """422 for both; the upload stays open and completes once they are right."""
    upload = _begin(api, len(LARGE))
    base = f"/api/content/upload/{upload['contentId']}"
    first = httpx2.put(upload["chunkUrls"][0]["url"], content=LARGE[: upload["chunkSize"]])
    api.put(f"{base}/chunk/1", json={"etag": first.headers["ETag"]})
    _problem(api.post(f"{base}/complete"), 422, "parts[2]")
    second = httpx2.put(upload["chunkUrls"][1]["url"], content=LARGE[upload["chunkSize"] :])
    wrong = {"parts": [{"partNumber": 2, "etag": "0" * 32}]}
    _problem(api.post(f"{base}/complete", json=wrong), 422, "parts")
    assert _counts(engine) == [1, 1, 1]
    right = {"parts": [{"partNumber": 2, "etag": second.headers["ETag"]}]}
    assert api.post(f"{base}/complete", json=right).status_code == 200
    _problem(api.post(f"{base}/complete", json={"parts": [{"partNumber": 1}]}), 400, "parts.0.etag")


@pytest.mark.parametrize(
    ("number", "body", "field"),
    [("0", {}, "partNumber"), ("3", {}, "partNumber"), ("1", {"etag": "x"}, "etag")],
)
def test_a_part_that_cannot_be_is_refused(
    api: TestClient, engine: Engine, number: str, body: dict[str, str], field: str
) -> None:
    """400 with field and fix; nothing is noted."""
    upload = _begin(api, len(LARGE))
    answer = api.put(f"/api/content/upload/{upload['contentId']}/chunk/{number}", json=body)
    _problem(answer, 400, field)
    assert _counts(engine) == [1, 1, 0]


def test_foreign_and_unknown_content_look_alike(api: TestClient, engine: Engine) -> None:
    """404 on every path, with the same words, and nothing changes."""
    upload = _begin(api, 5)
    stranger = _person(engine)
    before = _counts(engine)
    for wanted, headers in ((upload["contentId"], stranger), ("unknown", {}), ("a%00b", {})):
        answers = [
            api.get(f"/api/content/{wanted}", headers=headers),
            api.get(f"/api/content/upload/{wanted}/resume", headers=headers),
            api.put(f"/api/content/upload/{wanted}/chunk/1", headers=headers),
            api.post(f"/api/content/upload/{wanted}/complete", headers=headers),
            api.delete(f"/api/content/upload/{wanted}/abort", headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [404] * 5
        assert {answer.json()["error"] for answer in answers} == {
            "There is no such content.",
            "There is no such upload.",
        }
    assert api.get("/api/content", headers=stranger).json()["total"] == 0
    assert _counts(engine) == before


def test_a_key_must_be_there_and_carry_the_scope(
    api: TestClient, engine: Engine, s3_bucket: str
) -> None:
    """401 without a key or with a wrong one, 403 without the scope; nothing changes."""
    reader = _person(engine, "content:read")
    begin = _announce(5)
    no_key = {"Authorization": ""}
    assert api.post("/api/content", json=begin, headers=no_key).status_code == 401
    wrong = {"Authorization": "Bearer mtk_wrong"}
    assert api.post("/api/content", json=begin, headers=wrong).status_code == 401
    assert api.post("/api/content", json=begin, headers=reader).status_code == 403
    assert api.get("/api/content", headers=reader).status_code == 200
    assert _counts(engine) == [0, 0, 0]


def test_a_bucket_that_is_down_is_named(database_url: str, engine: Engine) -> None:
    """503 with the dependency's name; no draft is left behind."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    with _client(database_url, nowhere, "nowhere") as api:
        answer = api.post("/api/content", json=_announce(5), headers=_person(engine))
    assert answer.status_code == 503
    assert answer.json()["dependency"] == "s3"
    assert answer.headers["Retry-After"]
    assert _counts(engine) == [0, 0, 0]

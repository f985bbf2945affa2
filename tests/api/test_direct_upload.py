"""`POST /api/content/direct`: one request, the same checks, nothing half done."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from minitik_dagster.local.ports import free_port
from minitik_dagster.media.direct import DIRECT_MAX_BYTES
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene
from tests.api.server import serving
from tests.media.videos import make_video

VIDEO = make_video(seconds=4, seed=21)
# Two parts: a free box behind the video.
_SIZE = 9 * 2**20
LARGER = VIDEO + (_SIZE - len(VIDEO)).to_bytes(4, "big") + b"free"
LARGER += bytes(_SIZE - len(LARGER))
NAMES = {"title": "A walk", "filename": "walk.mp4"}
PATH = "/api/content/direct"


@pytest.fixture
def settings(database_url: str, s3_endpoint: str, s3_bucket: str) -> Settings:
    """With a bucket."""
    return Settings(
        database_url=SecretStr(database_url),
        aws_endpoint_url_s3=s3_endpoint,
        aws_s3_bucket=s3_bucket,
        minitik_storage_bytes_per_user=20_000_000,
    )


@pytest.fixture
def api(settings: Settings, person: Person) -> Iterator[httpx.Client]:
    """The API, called by the person."""
    with serving(settings) as client:
        client.headers.update(person.headers)
        yield client


def _post(api: httpx.Client, data: Any, **headers: str) -> httpx.Response:
    sent = {"Content-Type": "video/mp4", **{n.replace("_", "-"): v for n, v in headers.items()}}
    return api.post(PATH, params=NAMES, content=data, headers=sent)


def test_a_small_video_is_there_after_one_request(api: httpx.Client, scene: Scene) -> None:
    """201 with facts and verdicts; also where it is stored in two parts."""
    for data in (VIDEO, LARGER):
        answer = _post(api, data)
        assert answer.status_code == 201, answer.text
        body = answer.json()
        assert (body["title"], body["fileSize"]) == ("A walk", str(len(data)))
        assert [verdict["accepted"] for verdict in body["verdicts"]] == [True] * 3
        assert httpx.get(body["thumbnailUrl"]).content.startswith(b"\xff\xd8")
        assert api.get(f"/api/content/{body['id']}").json()["media"] == body["media"]
    assert scene.rows("SELECT DISTINCT status FROM upload_sessions") == [{"status": "completed"}]


def test_the_same_request_again_makes_nothing_again(api: httpx.Client, scene: Scene) -> None:
    """Idempotency-Key: the same file answers the same, another one is refused."""
    first, again = (_post(api, VIDEO, Idempotency_Key="one") for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert _post(api, LARGER, Idempotency_Key="one").status_code == 422
    assert len(scene.rows("SELECT 1 FROM contents")) == 1


def test_a_file_that_is_no_video_leaves_nothing_and_may_be_sent_right_with_the_same_key(
    api: httpx.Client, scene: Scene
) -> None:
    """422 with the fix, and again 422: a refusal is judged anew, and keeps no key."""
    no_index = b"\0\0\0\x18ftypisom" + bytes(12)
    for data, told in (
        (b"Dear diary\n" * 9, "text"),
        (no_index, "no index"),
        (no_index, "no index"),
    ):
        answer = _post(api, data, Idempotency_Key="two")
        assert answer.status_code == 422
        assert told in answer.json()["detail"]
        assert "Idempotency-Replayed" not in answer.headers
    assert scene.rows("SELECT 1 FROM contents") == []
    assert _post(api, VIDEO, Idempotency_Key="two").status_code == 201


def test_too_large_a_file_is_told_where_to_go(api: httpx.Client, scene: Scene) -> None:
    """413, by the length it says and by the bytes that come without one."""
    too_many = bytes(DIRECT_MAX_BYTES + 1)
    for data in (too_many, iter([too_many[: 2**23]] * 3)):
        answer = _post(api, data)
        assert answer.status_code == 413, answer.text
        assert "/api/content takes larger ones" in answer.json()["detail"]
    assert scene.rows("SELECT 1 FROM upload_sessions") == []


@pytest.mark.parametrize(
    ("kind", "data", "status", "field"),
    [
        ("text/plain", VIDEO, 400, "mimeType"),
        ("", VIDEO, 400, "mimeType"),
        ("video/mp4", b"", 400, "fileSize"),
        ("video/mp4", VIDEO, 422, "fileSize"),
    ],
)
def test_what_is_announced_wrongly_is_named(
    api: httpx.Client, scene: Scene, person: Person, kind: str, data: bytes, status: int, field: str
) -> None:
    """Type, size, quota."""
    if status == 422:
        scene.content(person)
        scene.content(person)
    answer = api.post(PATH, params=NAMES, content=data, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert scene.rows("SELECT 1 FROM upload_sessions") == []


def test_a_bucket_that_is_down_leaves_no_draft(
    settings: Settings, person: Person, scene: Scene
) -> None:
    """503, and the same request works when it is back."""
    nowhere = settings.model_copy(update={"aws_endpoint_url_s3": f"http://127.0.0.1:{free_port()}"})
    with serving(nowhere) as api:
        api.headers.update(person.headers)
        answer = _post(api, VIDEO, Idempotency_Key="three")
    assert (answer.status_code, answer.json()["dependency"]) == (503, "s3")
    assert scene.rows("SELECT 1 FROM contents") == []
    with serving(settings) as api:
        api.headers.update(person.headers)
        assert _post(api, VIDEO, Idempotency_Key="three").status_code == 201

"""Hostile and odd files and requests: each gets its clear answer, and the service stays up."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from minitik_dagster.db.engine import make_engine
from minitik_dagster.errors import FieldProblem, InvalidInputError
from minitik_dagster.media.probe import Probe
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene
from tests.api.server import serving
from tests.media import hostile
from tests.media.videos import make_video

DIRECT = "/api/content/direct"
NO_VIDEO, NO_INDEX, DAMAGED = "the file is not a video", "no index (moov)", "the video is damaged"
REFERS, CUT = "the file refers to other files", "bytes are missing"
# What each damaged file is told; None = it can be read, and somebody takes it.
TOLD: dict[str, str | None] = {
    "a head alone": NO_INDEX,
    "a head and noise": NO_INDEX,
    "the end is missing": "400 " + CUT,
    "the first half is missing": NO_INDEX,
    "an index of 4 GiB": CUT,
    "a box of 2**63 bytes": CUT,
    "a box smaller than its head": NO_INDEX,
    "boxes 100,000 deep": DAMAGED,
    "a million empty boxes": NO_INDEX,
    "sound only": "no video stream (sound only)",
    "its data lies in /etc/passwd": REFERS,
    "its data lies in the network": REFERS,
    "an alias of another file": REFERS,
    "2**32 - 1 durations": "takes more memory than allowed",
    "2**32 - 1 samples": DAMAGED,
    "2**32 - 1 chunks": None,
    "samples of 4 GiB": DAMAGED,
    "chunks behind the end": "no frame of the video can be decoded",
    "a time scale of 0": None,
    "136 years long": None,
    "100 tracks": None,
    "frames of zeros": DAMAGED,
    "frames of noise": DAMAGED,
    "an unknown codec": "codec is not known",
    "65,535 pixels a side": None,
    "a picture of 4,000 pixels a side": None,
    "a picture of 9,000 pixels a side": None,
    "a WebM head alone": DAMAGED,
    "a WebM of noise": DAMAGED,
    "a WebM element of 2**56 bytes": DAMAGED,
}
# Which rules each odd one breaks, by platform.
RULES: dict[str, dict[str, set[str]]] = {
    "no sound": {},
    "one frame": {"INSTAGRAM": {"duration"}},
    "5 frames a second": {"TIKTOK": {"frameRate"}, "INSTAGRAM": {"frameRate"}},
    "120 frames a second": {"TIKTOK": {"frameRate"}, "INSTAGRAM": {"frameRate"}},
    "160 pixels wide": {"TIKTOK": {"dimensions"}},
    "a thousand pixels wide and two high": {"TIKTOK": {"dimensions"}, "INSTAGRAM": {"aspect"}},
    "MPEG-4 part 2": {"TIKTOK": {"videoCodec"}, "INSTAGRAM": {"videoCodec"}},
    "H.265": {},
    "VP8 in WebM": {"INSTAGRAM": {"container", "videoCodec", "audioCodec"}},
    "MJPEG in MOV": {"TIKTOK": {"videoCodec"}, "INSTAGRAM": {"videoCodec"}},
    "the index behind the data": {},
    "a name of broken text": {},
    "a ZIP behind it": {},
    "a script in a free box": {},
    "in fragments": {},
}


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """Eyes on the database."""
    engine = make_engine(database_url)
    yield Scene(engine)
    engine.dispose()


@pytest.fixture
def person(scene: Scene) -> Person:
    """Who sends all this."""
    return scene.person()


@pytest.fixture
def api(
    database_url: str, s3_endpoint: str, s3_bucket: str, person: Person
) -> Iterator[httpx.Client]:
    """The API under uvicorn, called by the person."""
    settings = Settings(
        database_url=SecretStr(database_url),
        aws_endpoint_url_s3=s3_endpoint,
        aws_s3_bucket=s3_bucket,
    )
    with serving(settings) as client:
        client.headers.update(person.headers)
        client.timeout = httpx.Timeout(110)
        yield client


def _send(api: httpx.Client, data: bytes) -> httpx.Response:
    names = {"title": "A walk", "filename": "walk.mp4"}
    return api.post(DIRECT, params=names, content=data, headers={"Content-Type": "video/mp4"})


def _still_up(api: httpx.Client) -> None:
    assert api.get("/healthz").status_code == 200
    assert _send(api, make_video(seconds=0.5, seed=99)).status_code == 201


@pytest.mark.timeout(300)
def test_every_hostile_or_odd_file_gets_its_clear_answer(api: httpx.Client, scene: Scene) -> None:
    """Refused with finding and fix, or judged by each platform; what was refused leaves nothing."""
    files = {**hostile.no_videos(), **hostile.damaged(), **hostile.odd()}
    assert len(files) >= 40
    with ThreadPoolExecutor(4) as threads:
        answers = dict(
            zip(files, threads.map(lambda d: _send(api, d), files.values()), strict=True)
        )
    wrong, accepted = {}, 0
    for name, answer in answers.items():
        body = answer.json()
        if answer.status_code == 201:
            accepted += 1
            broken = {
                verdict["platform"]: {error["rule"] for error in verdict["errors"]}
                for verdict in body["verdicts"]
                if verdict["errors"]
            }
            good = TOLD.get(name, "") is None or broken == RULES.get(name)
        else:
            [problem] = body["errors"]
            told = TOLD.get(name, "Matroska" if name == "matroska" else NO_VIDEO)
            good = answer.status_code == 422 and told is not None and told in problem["message"]
            good = good and problem["field"] == "file" and bool(problem["fix"])
        if not good:
            wrong[name] = (answer.status_code, answer.text[:600])
    assert wrong == {}
    assert len(scene.rows("SELECT 1 FROM contents")) == accepted
    _still_up(api)


def _rows(scene: Scene) -> str:
    # A completion that was refused has been there, and says when.
    return scene.fingerprint(but="upload_sessions")


def _begin(**changes: Any) -> tuple[str, str, Any]:
    body = {"title": "v", "filename": "v.mp4", "mimeType": "video/mp4", "fileSize": 5, **changes}
    return "POST", "/api/content", body


_PART = "/api/content/upload/<upload>/chunk/"
_COMPLETE = "/api/content/upload/<upload>/complete"
_ETAG = "d41d8cd98f00b204e9800998ecf8427e"
REQUESTS: dict[str, tuple[tuple[str, str, Any], int]] = {
    "a title of half a character": (_begin(title="\ud800"), 400),
    "a title of a NUL": (_begin(title="a\0b"), 400),
    "a title of 900,000 characters": (_begin(title="x" * 900_000), 400),
    "a title that is a list": (_begin(title=["x"] * 1000), 400),
    "a name of a thousand folders": (_begin(filename="../" * 1000 + "v.mp4"), 400),
    "a type with a script": (_begin(mimeType="video/mp4\r\nX-Evil: 1"), 400),
    "a playlist's type": (_begin(mimeType="application/vnd.apple.mpegurl"), 400),
    "a size below zero": (_begin(fileSize=-(2**63)), 400),
    "a size of 10**400": (_begin(fileSize=10**400), 422),
    "a size that is no number": (_begin(fileSize="NaN"), 400),
    "a field nobody knows": (_begin(__proto__={"admin": True}), 400),
    "brackets 100,000 deep": (("POST", "/api/content", "[" * 100_000), 400),
    "a body that is no text": (("POST", "/api/content", b"\xff\xfe\0"), 400),
    "part 0": (("PUT", _PART + "0", {}), 400),
    "part 10**30": (("PUT", _PART + "1" + "0" * 30, {}), 400),
    "a part that is no number": (("PUT", _PART + "one", {}), 400),
    "an ETag of SQL": (("PUT", _PART + "1", {"etag": "' OR 1=1 --"}), 400),
    "an ETag of 900,000 characters": (("PUT", _PART + "1", {"etag": "a" * 900_000}), 400),
    "completing with nothing sent": (("POST", _COMPLETE, {}), 422),
    "completing part 2 of 1": (
        ("POST", _COMPLETE, {"parts": [{"partNumber": 2, "etag": _ETAG}]}), 400,
    ),
    "completing with a part that was never sent": (
        ("POST", _COMPLETE, {"parts": [{"partNumber": 1, "etag": _ETAG}]}), 422,
    ),
    "completing with 10,001 parts": (
        ("POST", _COMPLETE, {"parts": [{"partNumber": 1, "etag": _ETAG}] * 10_001}), 400,
    ),
    "an id of SQL": (("GET", "/api/content/'; DROP TABLE contents; --", None), 404),
    "an id of a NUL": (("GET", "/api/content/a%00b", None), 404),
    "an id of folders": (("GET", "/api/content/..%2f..%2fetc%2fpasswd", None), 404),
    "an id of 5,000 characters": (("GET", "/api/content/" + "a" * 5_000, None), 404),
    "a search of a NUL": (("GET", "/api/content?search=%00", None), 400),
    "a cursor of noise": (("GET", "/api/content?cursor=%F0%9F%98%80", None), 400),
    "a page that is no number": (("GET", "/api/content?page=1e9", None), 400),
    "a limit of a million": (("GET", "/api/content?limit=1000000", None), 400),
    "a direct upload without a name": (("POST", DIRECT, b"x"), 400),
}  # fmt: skip


def test_every_odd_request_gets_its_clear_answer(api: httpx.Client, scene: Scene) -> None:
    """A problem with its request id, naming field and fix where there is a field; nothing changes."""
    begun = api.post("/api/content", json=_begin()[2]).json()
    before, wrong = _rows(scene), {}
    for name, ((method, path, body), status) in REQUESTS.items():
        content = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        answer = api.request(
            method,
            path.replace("<upload>", begun["uploadId"]),
            content=content,
            headers={"Content-Type": "application/json"} if content is not None else {},
        )
        problem = answer.json()
        named = all(error["field"] and error["fix"] for error in problem["errors"])
        named = named and (bool(problem["errors"]) or status == 404)
        if answer.status_code != status or not problem["requestId"] or not named:
            wrong[name] = (answer.status_code, answer.text[:300])
        if _rows(scene) != before:
            wrong[name] = (0, "it changed something")
            before = _rows(scene)
    assert wrong == {}
    _still_up(api)


@pytest.mark.slow
def test_files_that_take_long_do_not_keep_other_requests_waiting(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty completions at once, each waiting for its probe: the library answers meanwhile."""
    go, probing = Event(), Semaphore(0)

    def slow(*_: object) -> Probe:
        probing.release()
        assert go.wait(60)
        raise InvalidInputError(FieldProblem("file", "took too long", "export it again"))

    monkeypatch.setattr("minitik_dagster.media.completion.probe", slow)
    with ThreadPoolExecutor(50) as threads:
        sent = [threads.submit(_send, api, b"\0\0\0\x18ftypisom%d" % n) for n in range(50)]
        assert probing.acquire(timeout=60)
        assert api.get("/api/content").status_code == 200
        go.set()
        assert {each.result().status_code for each in sent} == {422}

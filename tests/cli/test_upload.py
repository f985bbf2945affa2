"""`minitik upload`: killed and started again, refused, and run twice at once."""

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from minitik_dagster.client.api import ApiClient
from minitik_dagster.client.upload import PIECE_BYTES, Wish, upload
from minitik_dagster.db.engine import make_engine
from minitik_dagster.local.ports import free_port
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene
from tests.api.server import serving
from tests.cli.running import Command
from tests.media.toll_s3 import Toll, toll_s3
from tests.media.videos import make_video

MIB = 1024 * 1024
PART = 8 * MIB
VIDEO = make_video(seconds=4, seed=11)


def padded(size: int) -> bytes:
    """A valid video of `size` bytes: a free box of noise behind a small one."""
    head = VIDEO + (size - len(VIDEO)).to_bytes(4, "big") + b"free"
    return head + random.Random(size).randbytes(size - len(head))


@pytest.fixture
def toll(tmp_path: Path) -> Iterator[Toll]:
    """The bucket, which counts what is sent to it."""
    with toll_s3(tmp_path / "s3", "videos") as toll:
        yield toll


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """Eyes on the database."""
    engine: Engine = make_engine(database_url)
    yield Scene(engine)
    engine.dispose()


@pytest.fixture
def person(scene: Scene) -> Person:
    """Who uploads."""
    return scene.person()


@pytest.fixture
def settings(database_url: str, toll: Toll) -> Settings:
    """The API's environment."""
    return Settings(
        database_url=SecretStr(database_url),
        aws_endpoint_url_s3=toll.endpoint,
        aws_s3_bucket="videos",
        minitik_storage_bytes_per_user=100 * MIB,
    )


@pytest.fixture
def server(settings: Settings) -> Iterator[httpx.Client]:
    """The API in front of both."""
    with serving(settings) as client:
        yield client


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch, server: httpx.Client, person: Person
) -> dict[str, str]:
    """What the command needs to know."""
    found = {
        "MINITIK_API_URL": str(server.base_url),
        "MINITIK_API_KEY": person.headers["Authorization"].removeprefix("Bearer "),
    }
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def _start(file: Path, *options: str) -> "subprocess.Popen[str]":
    program = str(Path(sys.executable).with_name("minitik"))
    return subprocess.Popen(
        [program, "upload", str(file), "--json", *options],
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _stored(toll: Toll, scene: Scene, content_id: str, folder: Path) -> bytes:
    [row] = scene.rows('SELECT "filePath" AS key FROM contents WHERE id = :id', id=content_id)
    return Path(folder, "s3", "videos", str(row["key"])).read_bytes()


@pytest.mark.slow
def test_an_upload_killed_twice_goes_on_and_sends_less_than_three_parts_again(
    environment: dict[str, str], toll: Toll, scene: Scene, tmp_path: Path
) -> None:
    """Killed at any moment, with two parts under way; the stored bytes are the file's."""
    data = padded(4 * PART + MIB)
    file = tmp_path / "a walk.mp4"
    file.write_bytes(data)
    for held_at in (PART + 5 * MIB, 3 * PART + 4 * MIB):
        toll.hold_at(held_at)
        process = _start(file)
        assert toll.held.wait(60), process.communicate(timeout=5)
        process.kill()
        process.communicate(timeout=10)
        toll.open()
    done = _start(file)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    answer: dict[str, Any] = json.loads(out)
    again = toll.passed - len(data)
    assert 0 <= again < 3 * PART
    stored = _stored(toll, scene, answer["contentId"], tmp_path)
    assert hashlib.sha256(stored).digest() == hashlib.sha256(data).digest()
    assert scene.rows("SELECT title FROM contents") == [{"title": "a walk"}]
    assert list(tmp_path.glob("*.minitik-upload")) == []


def test_a_small_video_goes_up_and_its_verdicts_are_told(
    minitik: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    """Facts and each platform's verdict, in lines for people."""
    file = tmp_path / "walk.mp4"
    file.write_bytes(VIDEO)
    said = minitik.good("upload", str(file), "--title", "A walk")
    assert "A walk, 360x640, 4 s, h264" in said.out
    assert said.out.count(": accepted") == 3


def test_a_file_that_changed_is_not_mixed_with_what_was_sent(
    minitik: Command, environment: dict[str, str], toll: Toll, scene: Scene, tmp_path: Path
) -> None:
    """It says so; `--restart` drops the old upload and sends the new file."""
    file = tmp_path / "walk.mp4"
    file.write_bytes(padded(2 * PART))
    toll.hold_at(PART)
    process = _start(file)
    assert toll.held.wait(60)
    locked = minitik.refused("upload", str(file))
    assert "another process is uploading this file" in locked
    process.kill()
    process.communicate(timeout=10)
    toll.open()
    file.write_bytes(VIDEO)
    assert "--restart" in minitik.refused("upload", str(file))
    minitik.good("upload", str(file), "--restart")
    assert [
        row["status"] for row in scene.rows("SELECT status FROM upload_sessions ORDER BY 1")
    ] == [
        "aborted",
        "completed",
    ]
    assert len(scene.rows("SELECT 1 FROM contents")) == 1


def test_a_part_that_was_not_taken_is_sent_again(
    minitik: Command,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    toll: Toll,
    scene: Scene,
    tmp_path: Path,
) -> None:
    """A URL that expired is signed anew; a part of which other bytes arrived is not believed."""
    monkeypatch.setattr("minitik_dagster.client.upload._PAUSES", (0.01,) * 3)
    file = tmp_path / "walk.mp4"
    file.write_bytes(VIDEO)
    toll.spoil = ["403", "other bytes", "503", "403"]
    refused = minitik.refused("upload", str(file))
    assert "part 1 was not taken: the storage answered 403" in refused
    assert "run the same command again" in refused
    toll.spoil = ["403", "other bytes", "503"]
    answer = minitik.good("upload", str(file), "--json").data
    assert _stored(toll, scene, answer["contentId"], tmp_path) == VIDEO
    assert len(scene.rows("SELECT 1 FROM contents")) == 1


def test_an_api_that_is_restarted_meanwhile_is_waited_for(
    settings: Settings, person: Person, toll: Toll, scene: Scene, tmp_path: Path
) -> None:
    """Nothing is sent twice for it."""
    data = padded(PART + MIB)
    file = tmp_path / "walk.mp4"
    file.write_bytes(data)
    port = free_port()
    key = SecretStr(person.headers["Authorization"].removeprefix("Bearer "))
    client = ApiClient(f"http://127.0.0.1:{port}", key, pauses=(0.1,) * 300)
    toll.hold_at(MIB)
    with client, ThreadPoolExecutor(1) as threads:
        with serving(settings, port):
            done = threads.submit(upload, client, Wish(file))
            assert toll.held.wait(60)
        toll.open()
        with serving(settings, port):
            answer = done.result(60)
    assert _stored(toll, scene, answer["contentId"], tmp_path) == data
    assert toll.passed < len(data) + PIECE_BYTES  # the thumbnail and the list of parts come besides


@pytest.mark.parametrize(
    ("name", "data", "said", "code"),
    [
        ("notes.txt", b"Dear diary", "text/plain", 2),
        ("walk", b"Dear diary", "--type", 2),
        ("walk.mp4", b"", "empty", 2),
        ("walk.mp4", b"Dear diary", "text", 1),
    ],
)
def test_what_the_api_refuses_is_told_and_nothing_is_left(
    minitik: Command,
    environment: dict[str, str],
    scene: Scene,
    tmp_path: Path,
    name: str,
    data: bytes,
    said: str,
    code: int,
) -> None:
    """One line with finding and fix; neither a content nor a state file stays."""
    file = tmp_path / name
    file.write_bytes(data)
    assert said in minitik.refused("upload", str(file), code=code)
    assert scene.rows("SELECT 1 FROM contents") == []


def test_without_a_key_it_says_how_to_make_one(minitik: Command, tmp_path: Path) -> None:
    file = tmp_path / "walk.mp4"
    file.write_bytes(VIDEO)
    assert "minitik keys create" in minitik.refused("upload", str(file))


def test_an_api_that_is_not_there_is_named(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After its pauses it gives up; the next run goes on."""
    monkeypatch.setattr("minitik_dagster.client.api._PAUSES", ())
    monkeypatch.setenv("MINITIK_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MINITIK_API_KEY", "mtk_x")
    file = tmp_path / "walk.mp4"
    file.write_bytes(VIDEO)
    assert "http://127.0.0.1:9" in minitik.refused("upload", str(file))

"""One line per event that can be followed: request id, run id, publication, platform; JSON or for people."""

import ast
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from dagster import DagsterInstance
from sqlalchemy import Engine
from structlog.contextvars import get_contextvars

from minitik_dagster.api.app import create_app
from minitik_dagster.api.background import Work
from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.types import Platform
from minitik_dagster.definitions import defs
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.settings import Settings
from tests.api.scene import Scene
from tests.api.server import serving
from tests.operations.posts import post
from tests.operations.systems import KEY

PACKAGE = Path(__file__).parent.parent / "minitik_dagster"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url)
    yield made
    made.dispose()


def _lines(said: str) -> list[dict[str, Any]]:
    """The events of our own, each a JSON line."""
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def _log_calls() -> Iterator[tuple[str, int, str, set[str]]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "_log"
                and node.args
            ):
                name, given = node.args[0], {str(item.arg) for item in node.keywords}
                if isinstance(name, ast.Attribute):  # a line that each kind of work names itself
                    for kind in Work.__subclasses__():
                        event = getattr(kind, name.attr)
                        yield kind.__module__, node.lineno, event or "told.by.others", given
                    continue
                event = str(name.value) if isinstance(name, ast.Constant) else ""
                yield file.name, node.lineno, event, given


def test_every_line_about_a_publication_names_its_platform() -> None:
    """And every event has a name that can be searched for: words and dots, nothing filled in."""
    create_app(Settings())  # with it every kind of work is known
    found = list(_log_calls())
    assert len(found) > 80
    for file, line, event, names in found:
        if "publication" in names:
            assert "platform" in names, f"{file}:{line} {event}"
        assert event.replace(".", "").replace("_", "").isalpha(), f"{file}:{line} {event!r}"


def test_a_request_can_be_followed_from_its_id_to_the_posts_that_it_made(
    engine: Engine, database_url: str, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said after the commit; a refused one says only how it ended, and no path or query is ever written."""
    scene = Scene(engine)
    person = scene.person()
    account, content = scene.account(person), scene.content(person)
    settings = Settings(database_url=database_url, redis_url=redis_url, encryption_key=KEY)
    body = {
        "contentId": content,
        "accountIds": [account],
        "scheduledAt": "2026-12-20T12:00:00Z",
        "timezone": "UTC",
    }
    with serving(settings) as api:
        headers = person.headers | {"X-Request-Id": "ticket-4711"}
        made = api.post("/api/scheduling", json=body, headers=headers)
        assert made.status_code == 201, made.text
        again = api.post("/api/scheduling?code=sesame", json=body, headers=person.headers)
        assert again.status_code >= 400
        api.get("/api/scheduling", headers=person.headers)
        for path in ("/api/scheduling/sesame", "/sesame"):
            api.delete(path, headers=person.headers)
    lines = _lines(capsys.readouterr().err)
    mine = [line for line in lines if line.get("request_id") == "ticket-4711"]
    assert [line["event"] for line in mine] == ["publication.scheduled", "request.done"]
    [publication] = made.json()["publications"]
    assert (mine[0]["publication"], mine[0]["platform"]) == (publication["id"], "instagram")
    assert (mine[1]["status"], mine[1]["route"]) == (201, "/api/scheduling")
    rest = [line for line in lines if line.get("request_id") not in {None, "ticket-4711"}]
    assert [(line["event"], line["route"], line["status"]) for line in rest] == [
        ("request.done", "/api/scheduling", again.status_code),
        ("request.done", "/api/scheduling/{job_id}", 404),
        ("request.done", None, 404),
    ]
    assert rest[0]["request_id"] == again.headers["x-request-id"]
    assert "sesame" not in json.dumps(lines)


@pytest.mark.slow
def test_every_line_of_a_publishing_run_names_the_run_and_the_post(
    database_url: str,
    redis_url: str,
    s3_endpoint: str,
    s3_bucket: str,
    sandbox: SandboxServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A real run of the job: from accepted to live with run id, publication and platform, then no more."""
    environment: Mapping[str, str] = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "AWS_ENDPOINT_URL_S3": s3_endpoint,
        "AWS_S3_BUCKET": s3_bucket,
        "ENCRYPTION_KEY": KEY,
        "MINITIK_HOME": str(tmp_path),
        "MINITIK_IDLE_SECONDS": "1",
        "MINITIK_CONFIRM_LADDER": "0.2",
        **sandbox.environment,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    bench = Workbench(Settings(), sandbox)
    try:
        account = bench.add_account(Platform.INSTAGRAM)
        video = bench.add_video(2_000)
        bench.schedule(video, [(account, Platform.INSTAGRAM)], bench.now() + timedelta(seconds=1))
        capsys.readouterr()
        with DagsterInstance.ephemeral() as instance:
            done = defs.resolve_job_def("publish_due_posts").execute_in_process(instance=instance)
    finally:
        bench.close()
    lines = _lines(capsys.readouterr().err)
    about = [line for line in lines if "publication" in line]
    assert {"publication.accepted", "publication.live"} <= {line["event"] for line in about}
    assert {line["run_id"] for line in about} == {done.run_id}
    assert {line["platform"] for line in about} == {"instagram"}
    assert len({line["dispatcher"] for line in about}) == 1
    assert get_contextvars() == {}, "what comes after the run is not of it"


def test_every_other_run_names_itself_too(
    engine: Engine,
    database_url: str,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By its resources: the op does nothing for it. For people the same, in words."""
    scene = Scene(engine)
    person = scene.person()
    post(engine, scene, person, scene.account(person))
    for name, value in {
        "DATABASE_URL": database_url,
        "ENCRYPTION_KEY": KEY,
        **sandbox.environment,
    }.items():
        monkeypatch.setenv(name, value)
    for form in ("json", "human"):
        monkeypatch.setenv("MINITIK_LOG_FORMAT", form)
        capsys.readouterr()
        with DagsterInstance.ephemeral() as instance:
            done = defs.resolve_job_def("refresh_tokens").execute_in_process(instance=instance)
        [said] = [
            line for line in capsys.readouterr().err.splitlines() if "tokens.refreshed" in line
        ]
        if form == "json":
            assert json.loads(said)["run_id"] == done.run_id
            assert json.loads(said)["job"] == "refresh_tokens"
        else:
            assert f"run_id={done.run_id}" in said

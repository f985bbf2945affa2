"""What holds for every answer: ids, hosts, sizes, and nothing of the inside."""

import socket
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import text

from minitik_dagster.api.app import create_app
from minitik_dagster.api.boundary import MAX_BODY_BYTES, MAX_POST_BYTES
from minitik_dagster.api.dependencies import SessionDep
from minitik_dagster.api.routing import Router
from minitik_dagster.local.ports import free_port
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene


def _client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture
def no_database() -> Iterator[TestClient]:
    """The API in front of a PostgreSQL that is not there."""
    url = f"postgresql://nobody:hidden@127.0.0.1:{free_port()}/none"
    with _client(create_app(Settings(database_url=SecretStr(url)))) as client:
        yield client


def test_nothing_is_reached_when_the_application_is_made() -> None:
    """Creation needs no server and no setting; what is missing is told when it is asked for."""
    with _client(create_app(Settings())) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        answer = client.get("/api/accounts", headers={"Authorization": "Bearer x"})
        assert answer.status_code == 503
        assert "DATABASE_URL" in answer.json()["detail"]


def test_a_request_id_is_taken_over_or_made_and_is_on_every_answer(api: httpx.Client) -> None:
    given = api.get("/healthz", headers={"X-Request-Id": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    for answer in (
        api.get("/healthz", headers={"X-Request-Id": "not a good one"}),
        api.get("/nowhere"),
        api.get("/healthz", headers={"Host": "evil.example"}),
    ):
        assert answer.headers["x-request-id"].startswith("c")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[broken"])
def test_another_host_name_is_refused(api: httpx.Client, host: str) -> None:
    """A name that resolves to us (DNS rebinding) is not ours."""
    answer = api.get("/healthz", headers={"Host": host})
    assert answer.status_code == 400


def test_two_host_names_are_one_too_many(api: httpx.Client) -> None:
    """Whoever stood before us may have gone by the other one."""
    own, port = api.base_url.netloc.decode(), api.base_url.port
    assert port is not None
    for hosts in ([own, "evil.example"], ["evil.example", own]):
        lines = "".join(f"Host: {host}\r\n" for host in hosts)
        with socket.create_connection(("127.0.0.1", port)) as sent:
            sent.sendall(f"GET /healthz HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())
            assert sent.makefile("rb").readline().startswith(b"HTTP/1.1 400"), hosts


def test_the_configured_host_and_loopback_names_are_served() -> None:
    """And the names that an operator adds, for what calls us inside a cluster."""
    own, added = "https://Posts.Example.test", "minitik-api"
    hosts = ("posts.example.test", "POSTS.example.test:443", "localhost:1", "[::1]:9")
    with _client(create_app(Settings(nextauth_url=own, minitik_allowed_hosts=added))) as client:
        for host in (*hosts, "minitik-api:8000"):
            assert client.get("/healthz", headers={"Host": host}).status_code == 200, host
    with _client(create_app(Settings(nextauth_url=own))) as client:
        assert client.get("/healthz", headers={"Host": "minitik-api:8000"}).status_code == 400


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/api/scheduling", MAX_POST_BYTES),
        ("/api/content/direct", MAX_POST_BYTES),
        ("/api/content", MAX_BODY_BYTES),
        ("/api/keys", MAX_BODY_BYTES),
        ("/api/scheduling-not", MAX_BODY_BYTES),
    ],
)
def test_a_body_beyond_the_bound_is_413_before_it_is_read(
    no_database: TestClient, path: str, most: int
) -> None:
    """A post may hold a thumbnail, and a small video is a body; nothing else is large."""
    answer = no_database.post(path, headers={"Content-Length": str(most + 1)}, content=b"{}")
    assert answer.status_code == 413
    assert answer.json()["type"] == "/problems/body-too-large"
    assert str(most) in answer.json()["detail"]
    allowed = no_database.post(path, headers={"Content-Length": str(most)}, content=b"{}")
    assert allowed.status_code != 413


def test_an_unknown_path_and_a_wrong_method_are_problems(api: httpx.Client) -> None:
    missing = api.get("/api/nothing")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/not-found")
    wrong = api.put("/api/scheduling")
    assert (wrong.status_code, wrong.json()["type"]) == (405, "/problems/method-not-allowed")
    assert "POST" in wrong.headers["allow"]


def test_an_unexpected_error_tells_nothing_of_the_inside() -> None:
    app = create_app(Settings())

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("password=hunter2 at /srv/secret.py")

    with _client(app) as client:
        answer = client.get("/broken")
    assert answer.status_code == 500
    problem = answer.json()
    assert problem["type"] == "/problems/internal"
    assert problem["requestId"] == answer.headers["x-request-id"]
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text


def test_a_database_that_does_not_answer_is_503_and_named(no_database: TestClient) -> None:
    answer = no_database.get("/api/accounts", headers={"Authorization": "Bearer x"})
    assert answer.status_code == 503
    assert answer.json()["dependency"] == "postgresql"
    assert int(answer.headers["retry-after"]) > 0
    assert "hidden" not in answer.text


def test_a_commit_that_fails_is_never_told_as_a_success(settings: Settings, scene: Scene) -> None:
    """The transaction ends before the answer is sent: a 201 for a row that is not there cannot be."""
    app = create_app(settings)
    router = Router()

    @router.post("/late", status_code=201)
    def late(session: SessionDep) -> dict[str, bool]:
        # A deferred constraint fails at COMMIT, after the endpoint has returned.
        session.execute(
            text("CREATE TEMP TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        )
        session.execute(text("INSERT INTO late VALUES (1), (1)"))
        return {"done": True}

    app.include_router(router)
    with _client(app) as client:
        answer = client.post("/late")
    assert answer.status_code == 500
    assert "done" not in answer.text


def test_what_an_endpoint_wrote_before_it_failed_is_rolled_back(
    settings: Settings, scene: Scene, person: Person
) -> None:
    app = create_app(settings)
    router = Router()

    @router.post("/half")
    def half(session: SessionDep) -> None:
        session.execute(text("DELETE FROM api_keys"))
        raise RuntimeError

    app.include_router(router)
    with _client(app) as client:
        assert client.post("/half").status_code == 500
    assert scene.rows("SELECT count(*) AS keys FROM api_keys") == [{"keys": 1}]


def test_a_session_that_nobody_would_end_is_not_handed_out(
    settings: Settings, scene: Scene, person: Person
) -> None:
    """On a router of FastAPI's own, or in a coroutine, what is written would be lost in silence."""
    app = create_app(settings)
    router = Router()

    @app.post("/lost")
    def lost(session: SessionDep) -> None:
        session.execute(text("DELETE FROM api_keys"))

    @router.post("/waits")
    async def waits(session: SessionDep) -> None:
        session.execute(text("DELETE FROM api_keys"))

    app.include_router(router)
    with _client(app) as client:
        assert [client.post(path).status_code for path in ("/lost", "/waits")] == [500, 500]
    assert scene.rows("SELECT count(*) AS keys FROM api_keys") == [{"keys": 1}]

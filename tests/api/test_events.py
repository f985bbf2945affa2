"""`GET /api/events`: one's own events as they happen, resumed after any interruption, ended with the server."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.sessions import end_sessions_of
from minitik_dagster.api import streams
from minitik_dagster.api.schemas.webhooks import ChangedMessage
from minitik_dagster.local.ports import free_port
from minitik_dagster.notifications.event_queries import TELL
from minitik_dagster.notifications.events import CONTENT_READY, tell
from minitik_dagster.notifications.notices import ACCOUNT_DISCONNECTED
from minitik_dagster.settings import Settings
from tests.api.browsing import sign_in
from tests.api.scene import Person, Scene
from tests.api.server import serving


@dataclass
class Heard:
    """One event as a browser would dispatch it."""

    kind: str
    id: str
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> Any:
        """What `_tell` called it."""
        return self.data["data"].get("contentId")


class Reader:
    """Reads a stream as the HTML standard says; `last_id` is what a reconnect would send."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.last_id = ""
        self.comments = 0
        self._lines = answer.iter_lines()

    def next(self) -> Heard | None:
        """The next event with data; None when the stream has ended."""
        kind, data = "message", ""
        for line in self._lines:
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            elif name == "id":
                self.last_id = value
            elif name == "event":
                kind = value
            elif name == "data":
                data = value
            elif not line and data:
                return Heard(kind, self.last_id, json.loads(data))
        return None

    def began(self) -> None:
        """Read until the stream stands: from here on nothing is missed."""
        while not self.last_id:
            line = next(self._lines)
            if line.startswith("id: "):
                self.last_id = line[4:]


@contextmanager
def _open(
    api: httpx.Client, headers: dict[str, str], last_id: str | None = None
) -> Iterator[Reader]:
    sent = headers | ({"Last-Event-ID": last_id} if last_id else {})
    with api.stream("GET", "/api/events", headers=sent) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Reader(answer)


def _tell(scene: Scene, person: Person, *names: str) -> None:
    for name in names:
        with Session(scene.engine) as session, session.begin():
            tell(session, person.id, CONTENT_READY, contentId=name)


def test_what_happens_is_told_as_it_happens_and_nothing_of_anybody_else(
    api: httpx.Client, scene: Scene, person: Person, tomorrow: str
) -> None:
    """Scheduling by the API; another person's events, of the same instants, are not there."""
    other = scene.person()
    with _open(api, person.headers) as reader, _open(api, other.headers) as theirs:
        reader.began()
        theirs.began()
        _tell(scene, other, "theirs")
        body = {
            "contentId": scene.content(person), "accountIds": [scene.account(person)],
            "scheduledAt": tomorrow, "timezone": "UTC",
        }  # fmt: skip
        made = api.post("/api/scheduling", json=body, headers=person.headers)
        heard = reader.next()
        assert heard is not None
        message = ChangedMessage.model_validate(heard.data)
        assert heard.kind == message.type == "publication.changed"
        assert message.data.publication_id == made.json()["publications"][0]["id"]
        assert message.data.stage == "scheduled"
        _tell(scene, person, "mine")
        heard = reader.next()
        assert heard is not None
        assert heard.name == "mine"
        heard = theirs.next()
        assert heard is not None
        assert heard.name == "theirs"


def test_a_stream_resumes_after_the_last_id_and_leaves_nothing_out(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """Also what a slower transaction, begun before the last event, commits after it."""
    with _open(api, person.headers) as reader:
        reader.began()
        slow = scene.engine.connect()
        values = {"user_id": person.id, "type": CONTENT_READY, "data": '{"contentId": "slow"}'}
        slow.execute(text(TELL), values)
        _tell(scene, person, "a")
        heard = reader.next()
        assert heard is not None
        assert heard.name == "a"
        last = heard.id
    slow.commit()
    slow.close()
    _tell(scene, person, "b", "c")
    with _open(api, person.headers, last) as reader:
        missed = []
        while "c" not in missed:
            heard = reader.next()
            assert heard is not None
            missed.append(heard.name)
        assert [name for name in missed if name != "a"] == ["slow", "b", "c"]
        _tell(scene, person, "d")
        heard = reader.next()
        assert heard is not None
        assert heard.name == "d"
        last = reader.last_id
    with _open(api, person.headers, last) as reader:
        _tell(scene, person, "e")
        heard = reader.next()
        assert heard is not None
        assert heard.name == "e", "what was seen in quiet is not told again"


@pytest.mark.parametrize("last_id", ["nonsense", "1-1-1", f"{2**62}-1795609800-1"])
def test_an_id_that_cannot_be_resumed_from_says_so(
    api: httpx.Client, scene: Scene, person: Person, last_id: str
) -> None:
    """Not ours, too old, or of another database: `reset`, and the stream goes on from now."""
    _tell(scene, person, "before")
    with _open(api, person.headers, last_id) as reader:
        heard = reader.next()
        assert heard is not None
        assert heard.kind == "reset"
        reader.last_id = ""
        reader.began()
        _tell(scene, person, "after")
        heard = reader.next()
        assert heard is not None
        assert heard.name == "after"


def test_a_key_hears_only_what_it_may_read(api: httpx.Client, scene: Scene) -> None:
    person = scene.person("publish:read")
    with _open(api, person.headers) as reader:
        reader.began()
        _tell(scene, person, "hidden")
        with Session(scene.engine) as session, session.begin():
            tell(session, person.id, ACCOUNT_DISCONNECTED, accountId="hidden")
            tell(session, person.id, "publication.changed", contentId="shown")
        heard = reader.next()
        assert heard is not None
        assert heard.name == "shown"


def test_streams_are_bounded_and_hold_no_connection_of_the_database(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """The sixth of a person is 429 with Retry-After; a closed one gives its place back."""
    opened = [_open(api, person.headers) for _ in range(streams.MOST_PER_USER)]
    readers = [stream.__enter__() for stream in opened]
    for reader in readers:
        reader.began()
    [row] = scene.rows(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() "
        "AND query LIKE 'LISTEN minitik_events%'"
    )
    assert row["n"] == 1, "one listener for all"
    refused = api.get("/api/events", headers=person.headers)
    assert refused.status_code == 429
    assert refused.json()["type"] == "/problems/throttled"
    assert int(refused.headers["retry-after"]) > 0
    opened.pop().__exit__(None, None, None)
    while api_status(api, person) == 429:
        threading.Event().wait(0.02)
    for stream in opened:
        stream.__exit__(None, None, None)


def api_status(api: httpx.Client, person: Person) -> int:
    """The status of one more stream, which is closed at once."""
    with api.stream("GET", "/api/events", headers=person.headers) as answer:
        return answer.status_code


def test_a_stream_ends_with_the_session_it_stands_on_and_beats_meanwhile(
    settings: Settings, scene: Scene, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT", timedelta(milliseconds=100))
    with serving(settings) as api, _open(api, sign_in(scene, person.id)) as reader:
        reader.began()
        _tell(scene, person, "a")
        assert reader.next() is not None
        with Session(scene.engine) as session, session.begin():
            end_sessions_of(session, person.id)
        assert reader.next() is None
        assert reader.comments > 0


def test_a_server_that_ends_closes_its_streams_at_once(
    settings: Settings, scene: Scene, person: Person
) -> None:
    """No client is waited for, and none sees a broken answer."""
    ended = threading.Event()
    with httpx.Client(trust_env=False, timeout=20) as client:
        server = serving(settings)
        api = server.__enter__()
        client.base_url = api.base_url
        with _open(client, person.headers) as reader:
            reader.began()

            def stop() -> None:
                server.__exit__(None, None, None)
                ended.set()

            thread = threading.Thread(target=stop)
            thread.start()
            assert reader.next() is None
        assert ended.wait(8), "the server still waits"
        thread.join(5)


@pytest.mark.slow
def test_a_server_of_its_own_ends_at_sigterm_though_a_stream_is_open(
    settings: Settings, scene: Scene, person: Person
) -> None:
    """As it is run: uvicorn in a process, without any limit to how long it waits for answers."""
    port = free_port()
    assert settings.database_url is not None
    program = [
        sys.executable, "-m", "uvicorn", "minitik_dagster.api.app:create_app", "--factory",
        "--port", str(port), "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    environment = os.environ | {"DATABASE_URL": settings.database_url.get_secret_value()}
    transport = httpx.HTTPTransport(retries=200)
    with (
        subprocess.Popen(program, env=environment) as process,
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}", transport=transport, trust_env=False, timeout=20
        ) as client,
    ):
        try:
            with _open(client, person.headers) as reader:
                reader.began()
                process.terminate()
                assert reader.next() is None
            process.wait(10)
        finally:
            process.kill()


def test_without_a_listener_the_streams_are_read_by_polling(
    settings: Settings, scene: Scene, person: Person
) -> None:
    """Behind a transaction pooler without DIRECT_URL."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    pooled = type(settings.database_url)(f"{url}{'&' if '?' in url else '?'}pgbouncer=true")
    with (
        serving(settings.model_copy(update={"database_url": pooled})) as api,
        _open(api, person.headers) as reader,
    ):
        reader.began()
        _tell(scene, person, "polled")
        heard = reader.next()
        assert heard is not None
        assert heard.name == "polled"

"""The one HTTP module: one call = one request, whatever the server does to the connection."""

import ast
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import minitik_dagster.platforms.http as http_module
from minitik_dagster.errors import NotSentError, TransientError, UnknownOutcomeError
from minitik_dagster.platforms.answers import Answer
from minitik_dagster.platforms.http import LaneName, PlatformHttp, make_client
from tests.platforms.doubles import OpenGate, ShutGate
from tests.platforms.wire import Wire, open_wire, until

pytestmark = pytest.mark.anyio

_SECRET = "secret-4f1c"


async def _commit(http: PlatformHttp, wire: Wire, *, read_seconds: float = 5.0) -> Answer:
    return await http.send(
        "PUT",
        f"{wire.url}/upload?key={_SECRET}",
        lane=LaneName.COMMIT,
        headers={"Authorization": f"Bearer {_SECRET}"},
        content=b"bytes",
        can_publish=True,
        gate=OpenGate(),
        read_seconds=read_seconds,
    )


@pytest.mark.parametrize("behaviour", ["cut", "half-answer"])
async def test_a_cut_connection_is_one_request_and_an_unknown_outcome(behaviour: str) -> None:
    """The server read the request and cut: nothing is sent again, and it may have happened."""
    async with open_wire(behaviour) as wire, PlatformHttp() as http:  # type: ignore[arg-type]
        with pytest.raises(UnknownOutcomeError) as caught:
            await _commit(http, wire)
        assert caught.value.code == "connection_cut"
        assert wire.requests == [f"PUT /upload?key={_SECRET} HTTP/1.1"]
        assert (await _commit(http, wire)).status == 200
        assert wire.seen("PUT") == 2


async def test_a_cut_connection_is_transient_where_nothing_can_be_published() -> None:
    """The class depends on the step, the number of requests does not."""
    async with open_wire("cut") as wire, PlatformHttp() as http:
        with pytest.raises(TransientError):
            await http.send("POST", wire.url + "/init", json={"a": 1})
        assert len(wire.requests) == 1


async def test_a_connection_that_the_server_closed_while_idle_is_opened_anew() -> None:
    """A stale keep-alive connection costs a connection, never a second request."""
    async with open_wire("answer-then-close") as wire, PlatformHttp() as http:
        await _commit(http, wire)
        await until(lambda: wire.open_connections == 0, what="the server closes")
        assert (await _commit(http, wire)).status == 200
        assert (wire.seen("PUT"), wire.connections) == (2, 2)


async def test_a_kept_connection_cut_under_the_next_request_is_not_tried_again() -> None:
    """The race: the server closes as our bytes arrive. They may have been read: unknown."""
    async with open_wire("answer", "cut") as wire, PlatformHttp() as http:
        await _commit(http, wire)
        with pytest.raises(UnknownOutcomeError):
            await _commit(http, wire)
        assert (wire.seen("PUT"), wire.connections) == (2, 1)


async def test_a_shut_gate_lets_no_byte_out() -> None:
    """The gate is asked after the connection stands and before the first byte."""
    async with open_wire() as wire, PlatformHttp() as http:
        with pytest.raises(NotSentError):
            await http.send(
                "PUT", wire.url, content=b"x", can_publish=True, gate=ShutGate(),
                lane=LaneName.COMMIT,
            )  # fmt: skip
        await until(lambda: wire.connections == 1 and not wire.open_connections, what="closed")
        assert wire.requests == []
        assert (await _commit(http, wire)).status == 200


async def test_the_gate_is_asked_on_a_kept_connection_too() -> None:
    """Every commit passes the gate, also on a connection that was warmed."""
    async with open_wire() as wire, PlatformHttp() as http:
        await http.warm(wire.url, 1)
        gate = OpenGate()
        for _ in range(3):
            await http.send("PUT", wire.url, lane=LaneName.COMMIT, content=b"", gate=gate)
        assert (gate.passed, wire.connections) == (3, 1)


@pytest.mark.parametrize("can_publish", [True, False])
async def test_a_server_that_hangs_is_unhealthy(can_publish: bool) -> None:
    """A time-out after sending: unknown on a step that can publish, and it counts for the breaker."""
    async with open_wire("hang") as wire, PlatformHttp() as http:
        kind = UnknownOutcomeError if can_publish else TransientError
        with pytest.raises(kind) as caught:
            await http.send(
                "PUT", wire.url, content=b"", can_publish=can_publish, read_seconds=0.05
            )
        assert (caught.value.code, caught.value.unhealthy) == ("timeout", True)
        assert len(wire.requests) == 1


async def test_a_full_lane_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection came free: transient even for a commit, and not the platform's fault."""
    monkeypatch.setattr(http_module, "LANE_WAIT_SECONDS", 0.05)
    async with open_wire("hang") as wire, PlatformHttp({LaneName.COMMIT: 1}) as http:
        first = asyncio.create_task(_commit(http, wire))
        await until(lambda: wire.requests, what="the first request arrives")
        with pytest.raises(TransientError) as caught:
            await _commit(http, wire)
        assert (caught.value.code, caught.value.unhealthy) == ("lane_full", False)
        wire.released.set()
        assert (await first).status == 200
        assert wire.seen("PUT") == 1


async def test_uploads_never_delay_a_commit() -> None:
    """Bulk has connections of its own: a commit goes out while every one of them is busy."""
    async with open_wire("hang", "hang") as wire, PlatformHttp({LaneName.BULK: 2}) as http:
        bulk = [
            asyncio.create_task(http.send("PUT", wire.url, lane=LaneName.BULK, content=b"x"))
            for _ in range(4)
        ]
        await until(lambda: wire.seen("PUT") == 2, what="both bulk connections are busy")
        assert (await _commit(http, wire)).status == 200
        wire.released.set()
        assert [answer.status for answer in await asyncio.gather(*bulk)] == [200] * 4


async def test_warmed_connections_are_the_ones_the_commits_use() -> None:
    """R4: connections stand open before the instant; the instant itself opens none."""
    async with open_wire() as wire, PlatformHttp() as http:
        await http.warm(wire.url + "/path?key=" + _SECRET, 12)
        assert (wire.connections, wire.seen("HEAD")) == (12, 12)
        await asyncio.gather(*(_commit(http, wire) for _ in range(12)))
        assert wire.connections == 12
        assert all(_SECRET not in line for line in wire.requests if line.startswith("HEAD"))


async def test_posts_that_are_warmed_one_by_one_get_a_connection_each() -> None:
    """Posts of one instant warm at their own pace; none may count another's connection as its own."""
    async with open_wire() as wire, PlatformHttp() as http:
        for _ in range(5):
            await http.keep_ready(wire.url)
        assert wire.connections == 5
        await asyncio.gather(*(_commit(http, wire) for _ in range(5)))
        assert wire.connections == 5


async def test_warming_an_unreachable_host_is_silent(unused_base_url: str) -> None:
    """Warming is best effort."""
    async with PlatformHttp() as http:
        await http.warm(unused_base_url, 2)
        await http.keep_ready(unused_base_url)


@pytest.mark.parametrize("can_publish", [True, False])
async def test_our_own_media_stream_breaking_off_is_never_taken_for_success(
    can_publish: bool,
) -> None:
    """The object store fails half-way: unknown on a step that can publish, else its own error."""
    closed = asyncio.Event()

    async def broken() -> AsyncIterator[bytes]:
        try:
            yield b"half"
            try:
                raise ConnectionError(f"https://store.example/video?signature={_SECRET}")
            except ConnectionError:
                raise TransientError("the store does not answer", code="s3") from None
        finally:
            closed.set()

    async with open_wire() as wire, PlatformHttp() as http:
        kind = UnknownOutcomeError if can_publish else TransientError
        with pytest.raises(kind) as caught:
            await http.send(
                "PUT",
                wire.url,
                headers={"Content-Length": "8"},
                content=broken(),
                can_publish=can_publish,
            )
        assert caught.value.code == ("media_stream" if can_publish else "s3")
        assert caught.value.__context__ is None
        assert closed.is_set()
        assert wire.body_bytes == 0


async def test_an_early_answer_counts_and_the_media_source_is_let_go() -> None:
    """A server may refuse before it has read the body: its answer counts, nothing stays open."""
    closed = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            for _ in range(64):
                yield b"x" * 65_536
        finally:
            closed.set()

    async with open_wire("early-403") as wire, PlatformHttp() as http:
        answer = await http.send(
            "PUT",
            wire.url,
            headers={"Content-Length": str(64 * 65_536)},
            content=body(),
            can_publish=True,
        )
        assert answer.status == 403
        assert closed.is_set()
        assert len(wire.requests) == 1


async def test_redirects_are_not_followed() -> None:
    """A redirect is an answer: following it would be a second request."""
    async with open_wire("redirect") as wire, PlatformHttp() as http:
        assert (await _commit(http, wire)).status == 302
        assert len(wire.requests) == 1


async def test_the_environment_sets_no_proxy(
    monkeypatch: pytest.MonkeyPatch, unused_base_url: str
) -> None:
    """trust_env is off: a proxy of the machine would see every token."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, unused_base_url)
    async with open_wire() as wire, PlatformHttp() as http, make_client() as plain:
        assert (await _commit(http, wire)).status == 200
        assert (await plain.get(wire.url)).status_code == 200


async def test_an_unreadable_url_from_a_platform_is_transient_and_not_shown() -> None:
    """A platform that answers garbage as upload URL cannot crash the engine or leak it."""
    async with PlatformHttp() as http:
        for url in ("http://[broken", "ftp://host/" + _SECRET, "http://host:99999999/" + _SECRET):
            with pytest.raises(TransientError) as caught:
                await http.send("PUT", url, content=b"", can_publish=True)
            assert _SECRET not in str(caught.value)


async def test_a_transport_that_sent_twice_would_be_caught() -> None:
    """Should a later release of the library re-send, the second time fails before its first byte."""
    sending = http_module._Sending(OpenGate())
    await sending.trace("http11.send_request_headers.started", {})
    with pytest.raises(RuntimeError):
        await sending.trace("http11.send_request_headers.started", {})


async def test_errors_keep_no_request() -> None:
    """An exception's context would carry the token into every report."""
    async with open_wire("cut") as wire, PlatformHttp() as http:
        with pytest.raises(UnknownOutcomeError) as caught:
            await _commit(http, wire)
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None
        assert str(caught.value).startswith("PUT http://127.0.0.1: ")
        assert _SECRET not in repr(vars(caught.value))


def test_only_the_http_module_makes_clients() -> None:
    """Every other platform module speaks HTTP through `PlatformHttp.send`."""
    folder = Path(http_module.__file__).parent
    for path in sorted(folder.glob("*.py")):
        imported = {
            name.name.partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for name in node.names
        }
        assert not imported & {"httpx", "httpx2", "httpcore2", "aiohttp"} or path.name == "http.py"

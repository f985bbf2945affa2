"""The guard of Dagster's web UI: what reaches the stock server, and what is refused before it."""

import asyncio

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from minitik_dagster.webserver.guard import WebUiGuard

JSON = {"Content-Type": "application/json"}
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
CROSS = {"Sec-Fetch-Site": "cross-site"}


class Reached:
    """Stands where the stock server stands, and remembers what came."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"here"})


@pytest.fixture
def reached() -> Reached:
    return Reached()


async def _ask(
    reached: Reached, method: str, path: str, headers: dict[str, str], host: str = "127.0.0.1:3000"
) -> httpx.Response:
    guard = WebUiGuard(reached, {"127.0.0.1", "localhost", "::1", "dagster.example.test"})
    transport = httpx.ASGITransport(app=guard)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3000") as client:
        return await client.request(method, path, headers={"Host": host} | headers, content=b"{}")


def _run(
    reached: Reached, method: str, path: str, headers: dict[str, str], host: str = "127.0.0.1:3000"
) -> int:
    return asyncio.run(_ask(reached, method, path, headers, host)).status_code


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {}),
        ("GET", "/runs/1", CROSS | NAVIGATION),
        ("GET", "/vendor/app.js", {"Sec-Fetch-Site": "same-origin"}),
        ("GET", "/graphql", {"Accept": "text/html"}),
        ("POST", "/graphql", JSON),
        ("POST", "/graphql", {"Content-Type": "Application/JSON; charset=utf-8"}),
        ("POST", "/graphql", JSON | {"Origin": "http://127.0.0.1:3000"}),
        ("POST", "/graphql", JSON | {"Sec-Fetch-Site": "same-origin"}),
        ("POST", "/report_asset_materialization/x", JSON),
    ],
)
def test_what_the_uis_own_pages_send_goes_through(
    reached: Reached, method: str, path: str, headers: dict[str, str]
) -> None:
    """And a program on this machine that says what it sends."""
    assert _run(reached, method, path, headers) == 200
    assert len(reached.scopes) == 1


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/graphql?query={version}", {}),
        ("POST", "/graphql?query={version}", {"Content-Type": "text/plain"}),
        ("POST", "/graphql", {"Content-Type": "text/plain; application/json"}),
        ("POST", "/graphql", {"Content-Type": "application/x-www-form-urlencoded"}),
        ("POST", "/graphql", {"Content-Type": "application/graphql"}),
        ("POST", "/graphql/", {"Content-Type": "text/plain"}),
        ("GET", "/graphql?query={version}", {}),
        ("HEAD", "/graphql?query={version}", {"Accept": "text/html"}),
        ("POST", "/report_asset_materialization/x", {"Content-Type": "text/plain"}),
        ("DELETE", "/anything", {}),
        ("POST", "/graphql", JSON | {"Origin": "https://evil.example"}),
        ("POST", "/graphql", JSON | {"Origin": "http://127.0.0.1:8080"}),
        ("POST", "/graphql", JSON | {"Origin": "http://127.0.0.1:3000.evil.example"}),
        ("POST", "/graphql", JSON | {"Origin": "null"}),
        ("GET", "/", {"Origin": "https://evil.example"}),
        ("POST", "/graphql", JSON | CROSS),
        ("POST", "/graphql", JSON | {"Sec-Fetch-Site": "Cross-Site"}),
        ("POST", "/graphql%2f?query={version}", {"Content-Type": "text/plain"}),
        ("GET", "/%67raphql?query={version}", {}),
        ("OPTIONS", "/graphql", {}),
        ("POST", "/graphql", JSON | CROSS | NAVIGATION),
        ("GET", "/graphql", {"Accept": "text/html"} | CROSS | NAVIGATION),
        ("GET", "/", CROSS),
        ("GET", "/", CROSS | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
    ],
)
def test_what_another_site_could_send_is_403_and_reaches_nothing(
    reached: Reached, method: str, path: str, headers: dict[str, str]
) -> None:
    """Each alone is enough."""
    assert _run(reached, method, path, headers) == 403
    assert reached.scopes == []


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:3000", 200),
        ("[::1]:3000", 200),
        ("Dagster.Example.test", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:3000", 403),
        ("evil.example@127.0.0.1", 403),
        ("127.0.0.1:bad:3000", 403),
        ("", 403),
    ],
)
def test_only_a_name_of_the_list_is_served(reached: Reached, host: str, status: int) -> None:
    """A name that only resolves to us (DNS rebinding) is not ours."""
    assert _run(reached, "POST", "/graphql", JSON, host) == status


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ([(b"host", b"127.0.0.1:3000")], False),
        ([(b"host", b"127.0.0.1:3000"), (b"origin", b"http://127.0.0.1:3000")], False),
        ([(b"host", b"dagster.example.test"), (b"origin", b"https://dagster.example.test")], False),
        ([(b"host", b"127.0.0.1:3000"), (b"origin", b"https://evil.example")], True),
        ([(b"host", b"127.0.0.1:3000"), (b"sec-fetch-site", b"cross-site")], True),
        (
            [
                (b"host", b"127.0.0.1:3000"),
                (b"sec-fetch-site", b"same-origin"),
                (b"sec-fetch-site", b"cross-site"),
            ],
            True,
        ),
        ([(b"host", b"evil.example")], True),
        ([(b"host", b"127.0.0.1"), (b"host", b"evil.example")], True),
    ],
)
def test_a_websocket_is_held_to_the_same_rules(
    headers: list[tuple[bytes, bytes]], refused: bool
) -> None:
    """It is closed before it is accepted: the handshake is answered with 403."""
    sent: list[Message] = []
    passed: list[Scope] = []

    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope)

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope: Scope = {"type": "websocket", "path": "/graphql", "headers": headers}
    asyncio.run(WebUiGuard(server, {"127.0.0.1", "dagster.example.test"})(scope, receive, send))
    assert bool(passed) is not refused
    assert [message["type"] for message in sent] == (["websocket.close"] if refused else [])


def test_no_other_site_may_put_the_ui_into_a_frame(reached: Reached) -> None:
    """Its buttons start runs."""
    answer = asyncio.run(_ask(reached, "GET", "/", {}))
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"

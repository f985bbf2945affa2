"""Dagster's real webserver behind our entry: an attacker's page is refused, an operator is served."""

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from minitik_dagster.errors import ConfigurationError
from minitik_dagster.webserver.app import create_app
from tests.webserver.conftest import Start

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("webserver")]
DELETE = 'mutation { deletePipelineRun(runId: "none") { __typename } }'


@pytest.fixture(scope="module")
def webserver(start_webserver: Start) -> str:
    """An operator's web UI."""
    return start_webserver("create_app", MINITIK_ALLOWED_HOSTS="dagster.example.test")


def _post(address: str, query: str, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{address}/graphql", json={"query": query}, headers=headers, trust_env=False, timeout=30
    )


def test_the_query_in_the_url_of_a_plain_post_is_403(webserver: str) -> None:
    """The request that any page in the operator's browser can send; as JSON the same mutation runs."""
    address = f"{webserver}/graphql"
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = httpx.post(
            address, params={"query": DELETE}, headers={"Content-Type": kind}, trust_env=False
        )
        assert answer.status_code == 403, kind
    assert httpx.post(address, params={"query": DELETE}, trust_env=False).status_code == 403
    assert httpx.get(address, params={"query": DELETE}, trust_env=False).status_code == 403
    told = _post(webserver, DELETE).json()["data"]["deletePipelineRun"]["__typename"]
    assert told == "RunNotFoundError"


@pytest.mark.parametrize(
    "header",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_foreign_host_origin_or_site_is_403(webserver: str, header: dict[str, str]) -> None:
    assert _post(webserver, "{ version }", **header).status_code == 403


def test_the_uis_own_page_and_a_proxys_name_are_served(webserver: str) -> None:
    assert _post(webserver, "{ version }", Origin=webserver).json()["data"]["version"]
    behind = {"Host": "dagster.example.test", "Origin": "https://dagster.example.test"}
    assert _post(webserver, "{ version }", **behind).status_code == 200
    page = httpx.get(webserver, headers={"Accept": "text/html"}, trust_env=False)
    assert "<html" in page.text
    assert page.headers["x-frame-options"] == "SAMEORIGIN"


def test_a_websocket_of_another_origin_is_403_and_our_own_is_opened(webserver: str) -> None:
    """Subscriptions read the event log: a page elsewhere must not."""
    address = f"{webserver.replace('http', 'ws')}/graphql"
    kinds = [Subprotocol("graphql-ws")]
    with pytest.raises(InvalidStatus) as caught:
        connect(address, origin=Origin("https://evil.example"), subprotocols=kinds, proxy=None)
    assert caught.value.response.status_code == 403
    with connect(address, origin=Origin(webserver), subprotocols=kinds, proxy=None) as socket:
        socket.send('{"type": "connection_init"}')
        assert "connection_ack" in str(socket.recv(timeout=20))


def test_viewers_look_and_change_nothing(start_webserver: Start) -> None:
    """The read-only entry answers a mutation as the stock server's --read-only does."""
    viewers = start_webserver("create_viewer_app")
    assert _post(viewers, "{ version }").json()["data"]["version"]
    told = _post(viewers, DELETE).json()["data"]["deletePipelineRun"]["__typename"]
    assert told == "UnauthorizedError"


def test_without_a_dagster_home_it_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with pytest.raises(ConfigurationError, match="DAGSTER_HOME is not set"):
        create_app()

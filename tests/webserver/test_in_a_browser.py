"""A real browser: the web UI works behind its guard, and a page of another site changes nothing through it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.api.chromium import chromium
from tests.webserver.conftest import Start

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("webserver")]
# A mutation whose effect can be asked for: the greeting of a new instance has been seen.
MUTATION = "mutation { setNuxSeen }"


class _Hostile(BaseHTTPRequestHandler):
    """A page that sends the mutation in every way a page can, and then writes that it has."""

    target = ""

    def do_GET(self) -> None:
        url = f"{self.target}/graphql?query={MUTATION}".replace(" ", "%20")
        page = f"""<!doctype html><body><img src="{url}"><iframe name="frame"></iframe>
        <form id="form" method="post" target="frame" enctype="text/plain" action="{url}"></form>
        <script>
        document.getElementById('form').submit();
        const plain = {{method: 'POST', mode: 'no-cors', credentials: 'include'}};
        const socket = new WebSocket('{self.target.replace("http", "ws")}/graphql', 'graphql-ws');
        const ended = new Promise(resolve => {{ socket.onopen = () => resolve('opened');
                                               socket.onerror = () => resolve('refused'); }});
        Promise.allSettled([fetch('{url}', plain), fetch('{url}', {{mode: 'no-cors'}}), ended])
          .then(all => document.body.append('all sent, socket ' + all[2].value));
        </script>"""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def webserver(start_webserver: Start) -> str:
    """An operator's web UI on a new instance."""
    return start_webserver("create_app")


@pytest.fixture
def hostile_port(webserver: str) -> Iterator[int]:
    """Another site, which knows where the web UI is."""
    handler = type("Hostile", (_Hostile,), {"target": webserver})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def _is_new(webserver: str) -> bool:
    query = {"query": "{ shouldShowNux }"}
    answer = httpx.post(f"{webserver}/graphql", json=query, trust_env=False, timeout=30)
    return bool(answer.json()["data"]["shouldShowNux"])


@pytest.mark.parametrize("site", ["localhost", "127.0.0.1"])
def test_a_page_of_another_site_or_port_changes_nothing(
    webserver: str, hostile_port: int, site: str, tmp_path: Path
) -> None:
    """By image, form, fetch and websocket, from the operator's own browser."""
    with chromium(tmp_path / "profile") as tab:
        tab.open(f"http://{site}:{hostile_port}/")
        tab.wait_for("document.body.innerText.includes('all sent')", "the hostile page's end")
        assert "socket refused" in tab.text()
    assert _is_new(webserver)


def test_the_ui_itself_loads_and_its_own_pages_may_write(webserver: str, tmp_path: Path) -> None:
    """What the hostile page tried is done by a click on the UI's own page."""
    with chromium(tmp_path / "profile") as tab:
        tab.open(f"{webserver}/runs")
        skip = "[...document.querySelectorAll('button')].find(b => b.innerText === 'Skip')"
        tab.wait_for(f"!!{skip}", "the greeting")
        tab.value(f"{skip}.click()")
        tab.wait_for(f"!{skip}", "its end")
    assert not _is_new(webserver)

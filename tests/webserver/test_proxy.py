"""nginx as deploy/nginx/minitik.conf sets it up, in front of the real web UI and the real API."""

import getpass
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from minitik_dagster.local.ports import free_port
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.settings import Settings
from tests.api.server import serving
from tests.webserver.conftest import Start

pytestmark = [pytest.mark.proxy, pytest.mark.xdist_group("webserver")]
CONF = Path(__file__).parent.parent.parent / "deploy" / "nginx" / "minitik.conf"
API, OPERATORS, VIEWERS = "posts.example.com", "dagster.example.com", "view.example.com"
OPERATOR, VIEWER = ("operator", "planted-operator"), ("viewer", "planted-viewer")
DELETE = 'mutation { deletePipelineRun(runId: "none") { __typename } }'
_FRAME = """
daemon off; user {user}; pid nginx.pid; error_log error.log; events {{ worker_connections 128; }}
http {{
    access_log off; {paths}
    {conf}
}}
"""


@dataclass
class Proxy:
    """nginx on a port of its own, called by the names that its configuration serves."""

    port: int
    trust: ssl.SSLContext

    def ask(
        self,
        name: str,
        method: str,
        path: str,
        *,
        auth: tuple[str, str] | None = None,
        headers: dict[str, str] | None = None,
        json: object = None,
    ) -> httpx.Response:
        with httpx.Client(verify=self.trust, trust_env=False, timeout=30) as client:
            return client.request(
                method,
                f"https://127.0.0.1:{self.port}{path}",
                auth=auth,
                json=json,
                headers={"Host": name} | (headers or {}),
                extensions={"sni_hostname": name},
            )

    def query(
        self, name: str, query: str, auth: tuple[str, str] | None, **more: str
    ) -> httpx.Response:
        return self.ask(
            name, "POST", "/graphql", auth=auth, json={"query": query}, headers=dict(more)
        )


@pytest.fixture(scope="module")
def proxy(start_webserver: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Everything behind nginx; certificate and passwords are made for the occasion."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        pytest.fail("the tier proxy needs nginx: apt-get install nginx-light")
    hosts = f"{OPERATORS},{VIEWERS}"
    operators = start_webserver("create_app", MINITIK_ALLOWED_HOSTS=hosts)
    viewers = start_webserver("create_viewer_app", MINITIK_ALLOWED_HOSTS=hosts)
    folder = tmp_path_factory.mktemp("nginx")
    _make_certificate(folder)
    for name, (person, password) in (("operators", OPERATOR), ("viewers", VIEWER)):
        made = subprocess.run(
            ["openssl", "passwd", "-apr1", password], capture_output=True, text=True, check=True
        )
        (folder / f"{name}.htpasswd").write_text(f"{person}:{made.stdout}")
    folder.chmod(0o755)
    settings = Settings(nextauth_url=f"https://{API}", trusted_proxies="127.0.0.1")
    port = free_port()
    with serving(settings) as api:
        conf = CONF.read_text()
        for before, after in (
            ("127.0.0.1:8000", f"127.0.0.1:{api.base_url.port}"),
            ("127.0.0.1:3000", operators.removeprefix("http://")),
            ("127.0.0.1:3001", viewers.removeprefix("http://")),
            ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
            ("/etc/minitik/tls/", f"{folder}/"),
            ("/etc/minitik/", f"{folder}/"),
        ):
            assert before in conf
            conf = conf.replace(before, after)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
        (folder / "nginx.conf").write_text(
            _FRAME.format(user=getpass.getuser(), paths=paths, conf=conf)
        )
        nginx = ChildProcess(
            "nginx",
            [program, "-p", f"{folder}/", "-c", "nginx.conf", "-e", "error.log"],
            log=folder / "nginx.log",
        )
        nginx.start()
        trust = ssl.create_default_context(cafile=str(folder / "fullchain.pem"))
        trust.check_hostname = False
        found = Proxy(port, trust)
        try:
            nginx.wait_until(lambda: _answers(found), timeout_seconds=20)
            yield found
        finally:
            nginx.stop()


def _make_certificate(folder: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=example.com", "-addext", "subjectAltName=DNS:*.example.com"),
            *("-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")),
        ],
        capture_output=True,
        check=True,
    )


def _answers(proxy: Proxy) -> bool:
    try:
        return proxy.ask(API, "GET", "/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_the_ui_is_shown_to_whom_the_proxy_knows_and_to_nobody_else(proxy: Proxy) -> None:
    """Each name has its own people."""
    assert proxy.query(OPERATORS, "{ version }", None).status_code == 401
    assert proxy.query(OPERATORS, "{ version }", VIEWER).status_code == 401
    assert proxy.query(VIEWERS, "{ version }", OPERATOR).status_code == 401
    answer = proxy.query(OPERATORS, "{ version }", OPERATOR, Origin=f"https://{OPERATORS}")
    assert answer.json()["data"]["version"]


def test_behind_the_sign_in_another_sites_page_is_still_refused(proxy: Proxy) -> None:
    """The browser adds the operator's credentials to any site's request by itself: they prove nothing."""
    plain = proxy.ask(
        OPERATORS,
        "POST",
        f"/graphql?query={DELETE}",
        auth=OPERATOR,
        headers={"Content-Type": "text/plain"},
    )
    assert plain.status_code == 403
    foreign = {"Origin": "https://evil.example"}
    assert proxy.query(OPERATORS, DELETE, OPERATOR, **foreign).status_code == 403
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert proxy.query(OPERATORS, DELETE, OPERATOR, **cross).status_code == 403
    told = proxy.query(OPERATORS, DELETE, OPERATOR).json()["data"]["deletePipelineRun"]
    assert told["__typename"] == "RunNotFoundError"


def test_viewers_change_nothing(proxy: Proxy) -> None:
    told = proxy.query(VIEWERS, DELETE, VIEWER).json()["data"]["deletePipelineRun"]
    assert told["__typename"] == "UnauthorizedError"


def test_subscriptions_pass_the_proxy_and_foreign_ones_do_not(proxy: Proxy) -> None:
    """The upgrade, the Origin and the credentials all reach whom they are for."""
    kinds = [Subprotocol("graphql-ws")]
    token = httpx.BasicAuth(*OPERATOR)._auth_header
    address = f"wss://{OPERATORS}/graphql"

    def open_as(origin: str, headers: dict[str, str]) -> str:
        with connect(
            address,
            sock=socket.create_connection(("127.0.0.1", proxy.port)),
            ssl=proxy.trust,
            server_hostname=OPERATORS,
            origin=Origin(origin),
            subprotocols=kinds,
            additional_headers=headers,
            proxy=None,
        ) as opened:
            opened.send('{"type": "connection_init"}')
            return str(opened.recv(timeout=20))

    own = f"https://{OPERATORS}"
    assert "connection_ack" in open_as(own, {"Authorization": token})
    for origin, headers, status in (
        (own, {}, 401),
        ("https://evil.example", {"Authorization": token}, 403),
    ):
        with pytest.raises(InvalidStatus) as caught:
            open_as(origin, headers)
        assert caught.value.response.status_code == status


def test_the_api_is_served_by_its_name_with_its_own_authentication(proxy: Proxy) -> None:
    """Nothing of the proxy's sign-in is asked of it; another name gets no answer at all."""
    assert proxy.ask(API, "GET", "/healthz").json() == {"status": "ok"}
    assert proxy.ask(API, "GET", "/api/accounts").status_code in {401, 503}
    with pytest.raises(httpx.RemoteProtocolError):
        proxy.ask("evil.example", "GET", "/healthz")


def test_the_page_and_the_configuration_name_the_same_ports() -> None:
    """Those of deploy/systemd."""
    ports = dict(re.findall(r"upstream (\w+)\s+\{ server 127\.0\.0\.1:(\d+);", CONF.read_text()))
    units = CONF.parent.parent / "systemd"
    for upstream, unit in (
        ("minitik_api", "minitik-api"),
        ("minitik_webserver", "minitik-webserver"),
        ("minitik_viewers", "minitik-viewers"),
    ):
        assert f"--port {ports[upstream]} " in (units / f"{unit}.service").read_text()

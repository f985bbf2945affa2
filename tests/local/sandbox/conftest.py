"""A real sandbox process on a free port, and small clients that speak to it as apps do."""

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from minitik_dagster.local.sandbox.urls import platform_environment

STARTUP_SECONDS = 20
WAIT_SECONDS = 10


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll until `condition` holds; fails after a bounded time naming what was waited for."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)


@dataclass
class Account:
    """A seeded account and its tokens."""

    platform: str
    id: str
    access: str
    refresh: str | None

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access}"}


class SandboxProcess:
    """One `python -m minitik_dagster.local.sandbox`, its control interface and platform URLs."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.start()

    def start(self) -> None:
        self.http = httpx2.Client(timeout=10, trust_env=False)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "minitik_dagster.local.sandbox", "--db", str(self.database)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("sandbox listening on http://127.0.0.1:"), line
        self.base = line.rsplit(" ", 1)[1].strip()
        self.env = platform_environment(self.base)

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(STARTUP_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.http.close()
        return code

    def control(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.http.request(method, f"{self.base}/_sandbox{path}", json=body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def limits(self, platform: str, **values: Any) -> None:
        self.control("PUT", "/limits", {platform: values})

    def fault(self, platform: str, operation: str, kind: str, **more: Any) -> None:
        body = {"platform": platform, "operation": operation, "kind": kind, **more}
        self.control("POST", "/faults", body)

    def advance(self, seconds: float) -> None:
        self.control("POST", "/time", {"advanceSeconds": seconds})

    def posts(self) -> list[dict[str, Any]]:
        posts: list[dict[str, Any]] = self.control("GET", "/posts")["posts"]
        return posts

    def posts_of(self, account: Account) -> list[dict[str, Any]]:
        return [post for post in self.posts() if post["account"] == account.id]

    def calls(self, account: Account, operation: str) -> list[dict[str, Any]]:
        query = f"?operation={operation}&platform={account.platform}"
        return [c for c in self.control("GET", f"/calls{query}")["calls"]
                if c["account"] == account.id]  # fmt: skip

    def account(self, platform: str, **values: Any) -> Account:
        made = self.control("POST", "/accounts", {"platform": platform, **values})
        return Account(
            platform, made["platformAccountId"], made["accessToken"], made["refreshToken"]
        )


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """One process for all tests: each works with accounts of its own."""
    sandbox = SandboxProcess(tmp_path_factory.mktemp("sandbox") / "state.db")
    yield sandbox
    sandbox.stop()


@pytest.fixture
def sandbox(process: SandboxProcess) -> Iterator[SandboxProcess]:
    """The process with default limits (short processing) and no faults."""
    process.control("DELETE", "/limits")
    process.control("DELETE", "/faults")
    process.limits("tiktok", processingMs=0, moderationMs=0)
    process.limits("instagram", processingMs=0)
    process.limits("youtube", processingMs=0, uploadsPerDay=10_000, unitsPerDay=1_000_000)
    yield process
    assert process.process.poll() is None, "the sandbox died"


class MediaServer:
    """A loopback web server that serves media as a bucket's presigned URL would."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        media = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = media.files.get(self.path)
                if self.path in media.redirects:
                    self.send_response(302)
                    self.send_header("Location", media.redirects[self.path])
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(200 if body is not None else 403)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def put(self, path: str, body: bytes) -> str:
        self.files[path] = body
        return self.base + path

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="session")
def media() -> Iterator[MediaServer]:
    server = MediaServer()
    yield server
    server.close()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()

"""A headless Chromium, driven by its own DevTools protocol: opens pages and presses buttons."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_socket

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-port=0", "--no-proxy-server",
)  # fmt: skip
WAIT_SECONDS = 60


class Tab:
    """One page as a person sees it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = count(1)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(WAIT_SECONDS))
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    def value(self, script: str) -> Any:
        """What an expression is in the page now."""
        got = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return got["result"].get("value")

    def open(self, url: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=url)

    def wait_for(self, script: str, what: str) -> None:
        """Poll until an expression is true; fails after a bounded time, with what is shown instead."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.value(script):
            assert time.monotonic() < deadline, f"never came: {what}; {self.text()}"
            time.sleep(0.05)

    def text(self) -> str:
        """The page's words."""
        return str(self.value("document.body ? document.body.innerText : ''"))


@contextmanager
def chromium(profile: Path) -> Iterator[Tab]:
    """Start a browser with a profile of its own and yield its one tab."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    assert found, "Chromium is missing; install it: apt-get install chromium"
    process = subprocess.Popen(
        [found, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with open_socket(_page_socket(profile, process), max_size=None, proxy=None) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


def _page_socket(profile: Path, process: "subprocess.Popen[bytes]") -> str:
    """Where the tab's protocol is: the browser writes its port into its profile."""
    note = profile / "DevToolsActivePort"
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        assert process.poll() is None, "Chromium ended at once"
        assert time.monotonic() < deadline, "Chromium did not come up"
        lines = note.read_text().splitlines() if note.exists() else []
        if len(lines) == 2:
            tabs = httpx.get(f"http://127.0.0.1:{lines[0]}/json/list", trust_env=False).json()
            for tab in tabs:
                if tab["type"] == "page":
                    return str(tab["webSocketDebuggerUrl"])
        time.sleep(0.05)

"""A person in front of the API: asks for a link, reads it where a local stack prints it, signs in."""

import re
import threading
import time
from dataclasses import dataclass

import httpx
import pytest
from sqlalchemy.orm import Session

from minitik_dagster.accounts.sessions import open_session
from minitik_dagster.api.browser import COOKIE
from tests.api.scene import Scene

OWN_ORIGIN = {"Origin": "http://127.0.0.1:8000"}
_LINK = re.compile(r"^mail: https?://\S+/auth/verify\?token=(\S+)$", re.MULTILINE)
_PATIENCE_SECONDS = 20


@dataclass
class Mailbox:
    """What the API's process has printed as mail so far."""

    capsys: pytest.CaptureFixture[str]
    read: str = ""

    def text(self) -> str:
        """All that was printed."""
        self.read += self.capsys.readouterr().out
        return self.read

    def tokens(self, count: int = 1) -> list[str]:
        """The tokens of the links, once `count` of them are there."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while len(found := _LINK.findall(self.text())) < count:
            assert time.monotonic() < end, f"no link came: {self.read!r}"
            threading.Event().wait(0.02)
        return found


def wait_until_sent(scene: Scene, count: int) -> None:
    """Wait until so many notices are done with."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        [row] = scene.rows('SELECT count(*) AS n FROM outbox WHERE "doneAt" IS NOT NULL')
        if row["n"] >= count:
            return
        assert time.monotonic() < end, "the notices were not taken"
        threading.Event().wait(0.02)


def sign_in(scene: Scene, user_id: str) -> dict[str, str]:
    """Headers of a browser in which this person has signed in; without an Origin."""
    with Session(scene.engine) as session, session.begin():
        return {"Cookie": f"{COOKIE}={open_session(session, user_id)}"}


def ask(api: httpx.Client, email: str) -> httpx.Response:
    """Ask for a link."""
    return api.post("/api/auth/magic-link", json={"email": email})

"""Remembers the secrets that went between an application and the platforms, so that a test can look for them.

In memory only, for as long as the process lives. `GET /_sandbox/secrets` tells them; everything else of the
sandbox (its state file, its call list) keeps digests or nothing.
"""

import json
import re
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from minitik_dagster.local.sandbox.http import Call, Reply

_KEPT: Final = 100_000
# As the platforms name them, in queries, forms, JSON and redirects; and the kind they are told as.
_KINDS: Final = {
    "access_token": "access token",
    "accessToken": "access token",
    "refresh_token": "refresh token",
    "refreshToken": "refresh token",
    "token": "access token",
    "code": "authorization code",
    "code_verifier": "PKCE verifier",
    "client_secret": "client secret",
    "state": "OAuth state",
    "upload_token": "upload URL",
    "upload_id": "session URI",
    "X-Amz-Signature": "presigned URL",
}
_URLS: Final = ("upload_url", "video_url")
# Nothing shorter is a secret, and error codes are words.
_SECRET: Final = re.compile(r"(?=.*\d)\S*[A-Za-z]\S*")
_LEAST: Final = 16


class Witness:
    """What was seen, by value: its kind."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def see(self, call: Call, reply: Reply | None) -> None:
        """Take the secrets out of a request, as far as its body was read, and of its answer."""
        for name, value in call.query.items():
            self._take(name, value)
        self._keep("access token", call.bearer() or "")
        body = call.read_so_far()
        if "urlencoded" in call.headers.get("content-type", ""):
            for name, value in parse_qsl(body.decode("utf-8", "replace")):
                self._take(name, value)
        elif b"video_url" in body:
            self._take_json(body)
        if reply is None:
            return
        for name, value in reply.headers:
            if name == "Location":
                self._take_url(value)
        if b"oken" in reply.body or b"upload_url" in reply.body:
            self._take_json(reply.body)

    def told(self) -> list[dict[str, str]]:
        """Every secret with its kind, in the order of its first appearance."""
        return [{"kind": kind, "value": value} for value, kind in self._seen.items()]

    def _take_json(self, body: bytes) -> None:
        try:
            self._walk(json.loads(body))
        except ValueError:
            return

    def _walk(self, value: Any) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                if isinstance(item, str):
                    self._take(str(name), item)
                else:
                    self._walk(item)
        elif isinstance(value, list):
            for item in value:
                self._walk(item)

    def _take(self, name: str, value: str) -> None:
        if name in _URLS:
            self._take_url(value)
        elif name in _KINDS:
            self._keep(_KINDS[name], value)

    def _take_url(self, url: str) -> None:
        for name, value in parse_qsl(urlsplit(url).query):
            self._take(name, value)

    def _keep(self, kind: str, value: str) -> None:
        if len(value) >= _LEAST and _SECRET.fullmatch(value) and len(self._seen) < _KEPT:
            self._seen.setdefault(value, kind)

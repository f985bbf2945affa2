"""What may reach Dagster's web UI: an ASGI layer in front of the stock server.

Dagster's webserver has no authentication and takes a query from the URL of any GET or POST, so that any page
open in an operator's browser could start a run on it (Dagster documentation, "Dagster webserver"; the sources
of dagster-webserver 1.13). Refused with 403, before the stock server sees it: another Host than ours (DNS
rebinding), an Origin that is not the Host's own, what the browser itself calls cross-site (W3C "Fetch
Metadata Request Headers"), websockets included; and whatever writes without being application/json, which
no page can send to another site unasked (Fetch Standard, "CORS-safelisted request-header").
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minitik_dagster.hosts import host_name

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_log = structlog.get_logger(__name__)


class WebUiGuard:
    """ASGI layer around Dagster's web UI; see the module's text.

    Args:
        app: The stock server.
        hosts: The names it answers for (`Settings.allowed_hosts`).

    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app = app
        self.hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or websocket, or refuse it; the lifespan passes."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        reason = refusal(scope, self.hosts)
        if reason is not None:
            _log.warning("webserver.refused", reason=reason, path=scope["path"])
            await _refuse(scope, send, reason)
            return

        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                # No page of another site may put the UI into a frame and have it clicked on.
                MutableHeaders(scope=message)["X-Frame-Options"] = "SAMEORIGIN"
            await send(message)

        await self.app(scope, receive, send_unframed)


def refusal(scope: Scope, hosts: frozenset[str]) -> str | None:
    """Return why a request must not reach the web UI, in one line with the fix; None when it may."""
    headers = Headers(scope=scope)
    given = headers.getlist("host")
    host = given[0] if len(given) == 1 else ""
    if host_name(host) not in hosts:
        return (
            "this name is not served here: call it on loopback, or name it in MINITIK_ALLOWED_HOSTS"
        )
    for origin in headers.getlist("origin"):
        if not _is_of(origin, host):
            return "the request comes from a page of another origin"
    if not _is_read_as_json(scope, headers):
        return "what writes, and every query, must be a POST with Content-Type: application/json"
    sites = {site.strip().lower() for site in headers.getlist("sec-fetch-site")}
    if "cross-site" in sites and not _is_navigation(scope, headers):
        return "the browser says that the request comes from another site"
    return None


def _is_of(origin: str, host: str) -> bool:
    """Whether an Origin names the same host and port as the Host header; the scheme is the proxy's."""
    try:
        parts = urlsplit(origin)
        own = urlsplit(f"//{host}")
        default = _PORTS[parts.scheme]
        return parts.netloc != "" and (parts.hostname, parts.port or default) == (
            own.hostname,
            own.port or default,
        )
    except (ValueError, KeyError):  # `null` too: a page without an origin of its own
        return False


def _is_read_as_json(scope: Scope, headers: Headers) -> bool:
    """Whether a request that may change something is one that only our own pages can send unasked."""
    if scope["type"] != "http":
        return True
    if scope["method"] in _READING:
        # GraphiQL's page itself is no query; the stock server would take one from the URL.
        page = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
        return page or not scope["path"].rstrip("/").endswith("/graphql")
    kinds = [kind.partition(";")[0].strip().lower() for kind in headers.getlist("content-type")]
    return kinds == ["application/json"]


def _is_navigation(scope: Scope, headers: Headers) -> bool:
    """Whether a person follows a link to one of the UI's pages, or comes back from a sign-in.

    The page that linked here can neither read the answer nor put it into a frame.
    """
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
        and not scope["path"].rstrip("/").endswith("/graphql")
    )


async def _refuse(scope: Scope, send: Send, reason: str) -> None:
    if scope["type"] == "websocket":
        # Closed before it is accepted: the server answers the handshake with 403 (ASGI, "WebSocket").
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    body = f"403: {reason}\n".encode()
    start = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 403, "headers": start})
    await send({"type": "http.response.body", "body": body})

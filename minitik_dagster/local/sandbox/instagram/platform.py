"""Instagram's hosts, put together: addresses, whose request it is, injected answers."""

import re
from collections.abc import Awaitable, Callable
from typing import Final

from minitik_dagster.local.sandbox.consent import Consent
from minitik_dagster.local.sandbox.http import Call, Handler, Reply, Route
from minitik_dagster.local.sandbox.instagram.containers import InstagramContainers
from minitik_dagster.local.sandbox.instagram.envelope import graph_error, parse_code
from minitik_dagster.local.sandbox.instagram.media import InstagramMedia
from minitik_dagster.local.sandbox.instagram.oauth import InstagramOAuth, parameters
from minitik_dagster.local.sandbox.world import World

_VERSION: Final = re.compile(r"v\d{1,2}\.\d")
_GRAPH: Final = "/instagram-graph"
_EDGES: Final = {
    ("POST", "media"): "container",
    ("GET", "media"): "list",
    ("POST", "media_publish"): "media_publish",
    ("GET", "content_publishing_limit"): "publishing_limit",
    ("GET", "insights"): "insights",
}


class Instagram:
    """graph.instagram.com, api.instagram.com and www.instagram.com's consent page."""

    name = "instagram"
    prefixes: tuple[str, ...] = (_GRAPH, "/instagram-api", "/instagram-www")

    def __init__(self, world: World) -> None:
        self._world = world
        self._oauth = InstagramOAuth(world)
        self._containers = InstagramContainers(world)
        self._media = InstagramMedia(world)
        self._consent = Consent(world, "instagram")
        self._edges: dict[str, Callable[[Call, str], Awaitable[Reply]]] = {
            "container": self._containers.create,
            "list": self._media.listed,
            "media_publish": self._containers.publish,
            "publishing_limit": self._containers.publishing_limit,
            "insights": self._media.insights,
        }

    def resume(self) -> None:
        """Go on with downloads that a restart has cut off."""
        self._containers.resume_fetches()

    def route(self, call: Call) -> Route | None:
        """Return who answers; graph paths carry a version except the two token calls."""
        if call.prefix == "/instagram-api":
            if (call.method, call.path) == ("POST", "/oauth/access_token"):
                return Route("token", self._oauth.exchange_code)
            if call.path == "/oauth/authorize":
                return self._consent_route(call)
            return None
        if call.prefix == "/instagram-www":
            return self._consent_route(call) if call.path == "/oauth/authorize" else None
        parts = call.path.strip("/").split("/")
        versioned = _VERSION.fullmatch(parts[0]) is not None
        if versioned:
            parts = parts[1:]
        if call.method == "GET" and parts == ["access_token"]:
            return Route("token", self._oauth.exchange_short)
        if call.method == "GET" and parts == ["refresh_access_token"]:
            return Route("token", self._oauth.refresh)
        return self._graph_route(call.method, parts) if versioned else None

    def _consent_route(self, call: Call) -> Route | None:
        handlers: dict[str, Handler] = {"GET": self._consent.page, "POST": self._consent.decide}
        handler = handlers.get(call.method)
        return Route("consent", handler) if handler else None

    def _graph_route(self, method: str, parts: list[str]) -> Route | None:
        if method == "GET" and parts == ["me"]:
            return Route("profile", self._media.me)
        if len(parts) == 2 and (method, parts[1]) in _EDGES:
            operation = _EDGES[method, parts[1]]
            edge = self._edges[operation]
            return Route(operation, lambda call: edge(call, parts[0]))
        if len(parts) == 1 and method == "GET":
            if self._containers.find(parts[0]) is not None:
                return Route("container_status", lambda c: self._containers.status(c, parts[0]))
            if self._world.accounts.find("instagram", parts[0]) is not None:
                return Route("profile", self._media.me)
            return Route("media", lambda c: self._media.one(c, parts[0]))
        if len(parts) == 1 and method == "DELETE":
            return Route("delete", lambda c: self._media.delete(c, parts[0]))
        return None

    async def account_of(self, call: Call) -> str | None:
        """Return the account of the token, wherever the request carries it."""
        text = call.bearer() or call.query.get("access_token")
        if text is None and call.method == "POST":
            values = await parameters(call)
            text = values.get("access_token") or values.get("code")
        token = self._world.accounts.token("instagram", text)
        return token.account if token else None

    def refusal(self, status: int, code: str | None) -> Reply:
        """Return an error in the Graph envelope; `code` reads `code/subcode`."""
        return graph_error(*parse_code(code, "190" if status == 401 else "2"), "Injected.", status)

    def not_found(self) -> Reply:
        """Refuse an address that does not exist, an unversioned one included."""
        return graph_error(2500, None, "Unknown path components")

    def throttled(self, call: Call, code: str | None) -> Reply:
        """Return the application's request limit (code 4), or `code`."""
        number, subcode = parse_code(code, "4")
        message = None if subcode else f"(#{number}) Application request limit reached"
        return graph_error(number, subcode, message, 400)

"""What a browser brings: the session's cookie, the Origin of a request, the client's address."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response

from minitik_dagster.accounts.sessions import SESSION_LIFETIME
from minitik_dagster.api.dependencies import SettingsDep
from minitik_dagster.settings import Settings

COOKIE: Final = "minitik_session"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# Who has one address of IPv6 has its whole /64.
_IPV6_CLIENT_BITS: Final = 64


def is_secure(settings: Settings) -> bool:
    """Whether people reach this server by https."""
    return urlsplit(settings.nextauth_url).scheme == "https"


def cookie_name(settings: Settings) -> str:
    """Return the cookie's name: with the prefix that binds it to this host, where https allows it."""
    return f"__Host-{COOKIE}" if is_secure(settings) else COOKIE


def give_cookie(response: Response, settings: Settings, token: str) -> None:
    """Let the browser keep a session: not for scripts, not for requests from other sites."""
    response.set_cookie(
        cookie_name(settings),
        token,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        path="/",
        secure=is_secure(settings),
        httponly=True,
        samesite="lax",
    )


def take_cookie(response: Response, settings: Settings) -> None:
    """Let the browser forget its session."""
    response.delete_cookie(
        cookie_name(settings), path="/", secure=is_secure(settings), httponly=True, samesite="lax"
    )


def origin_of(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an http(s) URL or an Origin header; None for what is neither."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    return parts.scheme, parts.hostname, _DEFAULT_PORTS[parts.scheme] if port is None else port


def is_own_origin(header: str | None, settings: Settings) -> bool:
    """Whether an Origin header is that of NEXTAUTH_URL; an Origin is scheme, host and port, no more."""
    if not header or header != header.strip() or _has_more(header):
        return False
    found = origin_of(header)
    return found is not None and found == origin_of(settings.nextauth_url)


def _has_more(header: str) -> bool:
    """Whether something stands after the host and port."""
    scheme, separator, rest = header.partition("://")
    return not separator or not scheme or any(mark in rest for mark in "/?#\\")


def client_address(peer: str, forwarded: str, trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """Return who is asking: the peer, or behind a trusted proxy the last hop that is not one.

    `forwarded` is X-Forwarded-For, whose entries a client may have made up as well: it is read from
    its end, and only as far as trusted proxies wrote it. An IPv6 client is told by its /64.
    """
    client = _address(peer)
    hops = [part.strip() for part in forwarded.split(",") if part.strip()]
    while client is not None and hops and any(client in network for network in trusted):
        before = _address(hops.pop())
        if before is None:
            break
        client = before
    if client is None:
        return "unknown"
    if isinstance(client, IPv6Address):
        return str(ip_network((int(client), _IPV6_CLIENT_BITS), strict=False))
    return str(client)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address; a port, brackets and a zone are left out, a mapped IPv4 address is one."""
    text = text.partition("%")[0]
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


async def client(request: Request, settings: SettingsDep) -> str:
    """Return the client's address, believing X-Forwarded-For behind TRUSTED_PROXIES only."""
    peer = request.client.host if request.client else ""
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    return client_address(peer, forwarded, settings.trusted_networks())


ClientDep = Annotated[str, Depends(client)]

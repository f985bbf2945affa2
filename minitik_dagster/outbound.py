"""The one way out to a URL that a user gave: covers, webhook targets, push endpoints as they come.

https only, global addresses only, the connection goes to the very address that was checked (a second
DNS answer changes nothing), no redirects, a cap on bytes and on time. In a database stamped `sandbox`
loopback is allowed, over plain http too. TLS is verified against the URL's host name: httpx's documented
`sni_hostname` extension ("Extensions" of HTTPX) names it while the address is connected to.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import httpx2

from minitik_dagster.errors import MinitikError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to addresses as text; raises OSError where there are none."""

URL_CHARACTERS: Final = 2_048
_CONNECT_SECONDS: Final = 5.0
# More addresses than these are not tried: each may cost a connect's time-out.
_ADDRESSES: Final = 4
# IPv4 addresses travel inside these too ("IPv6 Addressing of IPv4/IPv6 Translators", RFC 6052, and its
# local-use prefix, RFC 8215).
_TRANSLATED: Final = (
    ipaddress.ip_network("64:ff9b::/96"),
    ipaddress.ip_network("64:ff9b:1::/48"),
)


class OutboundError(MinitikError):
    """A URL of a user's was not fetched; names scheme and host of it only, and says why."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"{where} {reason}")


class OutboundRefusedError(OutboundError):
    """We do not go there, or do not take what it answers: repeating it changes nothing."""


class OutboundFailedError(OutboundError):
    """It could not be reached or did not answer in time: that may pass."""


@dataclass(frozen=True)
class Target:
    """A URL that may be fetched, and the addresses that were checked for it."""

    url: httpx2.URL = field(repr=False)
    where: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Fetched:
    """An answer, read to its end; header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


async def system_addresses(host: str, port: int) -> Sequence[str]:
    """Resolve by the system's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(item[4][0]) for item in found]


@dataclass(frozen=True)
class Outbound:
    """Fetches users' URLs. `loopback`: this database is stamped `sandbox`, its servers are local ones."""

    loopback: bool = False
    resolve: Resolve = system_addresses
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    async def check_url(self, url: str) -> Target:
        """Return where a URL leads; OutboundRefusedError where we do not go, without connecting.

        OutboundFailedError when its name cannot be resolved.
        """
        parsed = self._parse(url)
        where = f"{parsed.scheme}://{parsed.host}"
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
        try:
            answers = list(dict.fromkeys(await self.resolve(parsed.raw_host.decode(), port)))
        except (OSError, UnicodeError):
            answers = []
        if not answers:
            raise OutboundFailedError(where, "has no address")
        addresses = [_address(answer, where) for answer in answers]
        # One bad answer among good ones is enough: which is used would be the resolver's choice.
        for address in addresses:
            if not (_is_global(address) or (self.loopback and _is_loopback(address))):
                raise OutboundRefusedError(where, "is not on the public internet")
        if parsed.scheme == "http" and not all(_is_loopback(address) for address in addresses):
            raise OutboundRefusedError(where, "is not https")
        return Target(parsed, where, tuple(str(address) for address in addresses[:_ADDRESSES]))

    async def fetch(
        self,
        url: str,
        *,
        max_bytes: int,
        seconds: float,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        cut: bool = False,
    ) -> Fetched:
        """Send one request and return its answer, whatever its status but a redirect.

        `max_bytes` bounds the answer's body, `seconds` the whole of it, the name's resolution included;
        with `cut` no more than those bytes are read of a longer body, and it is an answer all the same.
        Raises OutboundRefusedError (also for a redirect and for more bytes) and OutboundFailedError.
        """
        where = _where(url)
        try:
            async with asyncio.timeout(seconds):
                target = await self.check_url(url)
                async with self._open(target, method, headers or {}, content) as response:
                    return await _read(response, where, max_bytes, cut=cut)
        except TimeoutError:
            raise OutboundFailedError(where, f"did not answer within {seconds:g} s") from None
        except (httpx2.TransportError, OSError):
            raise OutboundFailedError(where, "could not be reached") from None

    def _parse(self, url: str) -> httpx2.URL:
        where = _where(url)
        if len(url) > URL_CHARACTERS:
            raise OutboundRefusedError(where, f"is longer than {URL_CHARACTERS} characters")
        try:
            parsed = httpx2.URL(url)
        except (httpx2.InvalidURL, ValueError):
            raise OutboundRefusedError(where, "is not a URL") from None
        if parsed.scheme != "https" and not (self.loopback and parsed.scheme == "http"):
            raise OutboundRefusedError(where, "is not https")
        if not parsed.host:
            raise OutboundRefusedError(where, "names no host")
        if parsed.port is not None and not 0 < parsed.port < 65_536:
            raise OutboundRefusedError(where, "names no port")
        if parsed.userinfo:
            raise OutboundRefusedError(where, "carries a user name or a password")
        return parsed

    @asynccontextmanager
    async def _open(
        self, target: Target, method: str, headers: Mapping[str, str], content: bytes | None
    ) -> AsyncIterator[httpx2.Response]:
        """Connect to the checked addresses in turn; a request goes out once."""
        async with httpx2.AsyncHTTPTransport(
            verify=self.tls or _tls(), trust_env=False, retries=0
        ) as transport:
            for left, address in reversed(list(enumerate(reversed(target.addresses)))):
                request = httpx2.Request(
                    method,
                    target.url.copy_with(host=address),
                    headers={
                        "User-Agent": "minitik",
                        "Accept-Encoding": "identity",
                        **headers,
                        "Host": target.url.netloc.decode("ascii"),
                    },
                    content=content,
                    extensions={
                        "sni_hostname": target.url.raw_host.decode("ascii"),
                        "timeout": {"connect": _CONNECT_SECONDS},
                    },
                )
                try:
                    response = await transport.handle_async_request(request)
                except (httpx2.ConnectError, httpx2.ConnectTimeout):
                    if left == 0:
                        raise
                    continue
                try:
                    yield response
                finally:
                    await response.aclose()
                return


async def _read(response: httpx2.Response, where: str, max_bytes: int, *, cut: bool) -> Fetched:
    if 300 <= response.status_code < 400:
        raise OutboundRefusedError(where, "answers with a redirect, which is not followed")
    too_long = OutboundRefusedError(where, f"answers with more than {max_bytes:,} bytes")
    length = response.headers.get("content-length", "")
    if not cut and length.isascii() and length.isdigit() and int(length) > max_bytes:
        raise too_long
    pieces, size = [], 0
    # Raw: what is counted is what came, whatever it would unpack to.
    async for piece in response.aiter_raw():
        size += len(piece)
        pieces.append(piece)
        if size > max_bytes:
            if not cut:
                raise too_long
            break
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Fetched(response.status_code, headers, b"".join(pieces)[:max_bytes])


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context(trust_env=False)


def _where(url: str) -> str:
    """Name a URL by scheme and host: its path and query may carry credentials."""
    try:
        parsed = httpx2.URL(url[:URL_CHARACTERS])
    except (httpx2.InvalidURL, ValueError):
        return "the URL"
    return f"{parsed.scheme}://{parsed.host}" if parsed.scheme and parsed.host else "the URL"


def _address(text: str, where: str) -> Address:
    try:
        # A zone (fe80::1%eth0) is ours, not the address's.
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise OutboundRefusedError(where, "is not on the public internet") from None


def _plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
    if inner is None and any(address in network for network in _TRANSLATED):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return inner or address


def _is_global(address: Address) -> bool:
    inner = _plain(address)
    # `is_global` alone counts multicast in, and knows no translated addresses.
    return inner.is_global and not inner.is_multicast and not inner.is_reserved


def _is_loopback(address: Address) -> bool:
    return address.is_loopback or _plain(address).is_loopback

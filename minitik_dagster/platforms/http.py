"""The one module that makes HTTP clients: httpx's API over httpx2, one request per call, no repeats.

Connections are kept in *cells*, pools of one: a large httpx pool costs CPU with every call (measured
on two cores, 100 at once: 0.55 ms a call with pools of 1 to 10, 0.7 with 25, 1.0 with 50, 1.4 with
100), and with cells it is known how many connections stand open before an instant (engine.md R4).

A *lane* is a set of cells with a limit of its own. Each platform has three: `CALLS` for small calls,
`BULK` for media while preparing, `COMMIT` for the calls that publish, so that neither of the others
can delay a commit.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import lru_cache
from typing import Any, Self

import httpx2

from minitik_dagster.errors import (
    MinitikError,
    NotSentError,
    PlatformError,
    TransientError,
    UnknownOutcomeError,
)
from minitik_dagster.platforms.answers import Answer, redacted
from minitik_dagster.platforms.port import SendGate

KEEPALIVE_SECONDS = 60.0
CONNECT_SECONDS = 5.0
WRITE_SECONDS = 30.0
READ_SECONDS = 30.0
LANE_WAIT_SECONDS = 10.0
# A connection is counted as ready for a commit for this long after its last answer; some servers
# close after five idle seconds.
_FRESH_SECONDS = 4.0
# How long a post that was warmed keeps its claim to one open connection.
_EXPECTED_SECONDS = 15.0
_ANSWER_LIMIT_BYTES = 8 * 1024 * 1024
_FIRST_BYTE = "http11.send_request_headers.started"

for _name in ("httpx2", "httpcore2"):
    # Their debug lines print URLs and headers, which carry credentials.
    logging.getLogger(_name).setLevel(logging.WARNING)


class LaneName(StrEnum):
    """Which set of connections a call goes through."""

    CALLS = "calls"
    BULK = "bulk"
    COMMIT = "commit"


_LANE_LIMITS = {LaneName.CALLS: 128, LaneName.BULK: 64, LaneName.COMMIT: 1024}


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context(trust_env=False)


def make_client(*, connections: int = 10, read_seconds: float = READ_SECONDS) -> httpx2.AsyncClient:
    """Return a plain client for other servers (the object store): no repeats, no environment."""
    limits = httpx2.Limits(
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=KEEPALIVE_SECONDS,
    )
    return httpx2.AsyncClient(
        transport=httpx2.AsyncHTTPTransport(verify=_tls(), trust_env=False, limits=limits),
        timeout=httpx2.Timeout(
            connect=CONNECT_SECONDS, read=read_seconds, write=WRITE_SECONDS, pool=read_seconds
        ),
        follow_redirects=False,
        trust_env=False,
    )


class _Cell:
    """One connection; httpcore opens it anew when it has expired or was closed."""

    def __init__(self) -> None:
        limits = httpx2.Limits(
            max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_SECONDS
        )
        self.transport = httpx2.AsyncHTTPTransport(
            verify=_tls(), trust_env=False, limits=limits, retries=0
        )
        self.answered_at = float("-inf")


class LaneFullError(Exception):
    """No connection of the lane came free in time; nothing was sent."""


class Lane:
    """Connections to any hosts, at most `limit` in use at once; idle ones are reused last in first."""

    def __init__(self, limit: int) -> None:
        self._room = asyncio.Semaphore(limit)
        self._idle: dict[str, list[_Cell]] = {}
        self._warming: dict[str, int] = {}
        self._expected: dict[str, list[float]] = {}

    @asynccontextmanager
    async def cell(
        self, origin: str, *, to_warm: bool = False
    ) -> AsyncIterator[httpx2.AsyncHTTPTransport]:
        """Lend the most recently used idle connection to `origin`, or a new one.

        `to_warm` lends the stalest, and a new one where all idle ones are fresh. Raises
        LaneFullError when none comes free within LANE_WAIT_SECONDS.
        """
        if self._room.locked():
            try:
                async with asyncio.timeout(LANE_WAIT_SECONDS):
                    await self._room.acquire()
            except TimeoutError:
                raise LaneFullError from None
        else:
            await self._room.acquire()
        idle = self._idle.setdefault(origin, [])
        if to_warm:
            cell = idle.pop(0) if len(idle) > self.fresh(origin) else _Cell()
        else:
            cell = idle.pop() if idle else _Cell()
        answered = False
        try:
            yield cell.transport
            cell.answered_at = time.monotonic()
            answered = True
        finally:
            self._room.release()
            # A connection that failed is the last to be lent again.
            idle.insert(len(idle) if answered else 0, cell)
            await self._drop_expired(idle)

    async def _drop_expired(self, idle: list[_Cell]) -> None:
        oldest = time.monotonic() - KEEPALIVE_SECONDS
        while len(idle) > 1 and idle[0].answered_at < oldest:
            await idle.pop(0).transport.aclose()

    def fresh(self, origin: str) -> int:
        """Return how many idle connections to `origin` have answered within the last seconds."""
        since = time.monotonic() - _FRESH_SECONDS
        return sum(cell.answered_at >= since for cell in self._idle.get(origin, ()))

    def expect(self, origin: str) -> bool:
        """Claim one open connection for a post that is near; True if one must still be opened."""
        now = time.monotonic()
        claims = [until for until in self._expected.get(origin, ()) if until > now]
        claims.append(now + _EXPECTED_SECONDS)
        self._expected[origin] = claims
        return self.fresh(origin) + self._warming.get(origin, 0) < len(claims)

    @asynccontextmanager
    async def warming(self, origin: str) -> AsyncIterator[None]:
        """Count a connection as about to stand open."""
        self._warming[origin] = self._warming.get(origin, 0) + 1
        try:
            yield
        finally:
            self._warming[origin] -= 1

    async def aclose(self) -> None:
        """Close every idle connection."""
        for idle in self._idle.values():
            while idle:
                await idle.pop().transport.aclose()


class _Sending:
    """Watches one request: calls the gate before the first byte, and knows whether it was started."""

    def __init__(self, gate: SendGate | None) -> None:
        self.started = False
        self._gate = gate

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event == _FIRST_BYTE:
            if self.started:
                # The library never sends twice; if a later release did, a post would go out twice.
                raise RuntimeError("the transport tried to send a request twice")
            if self._gate is not None:
                self._gate()
            self.started = True


def _origin(url: str) -> str:
    parts = httpx2.URL(url)
    return f"{parts.scheme}://{parts.netloc.decode('ascii')}"


class PlatformHttp:
    """One platform's connections. `send` is one call = one request, whatever happens to it."""

    def __init__(self, limits: Mapping[LaneName, int] | None = None) -> None:
        chosen = {**_LANE_LIMITS, **(limits or {})}
        self._lanes = {name: Lane(chosen[name]) for name in LaneName}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for lane in self._lanes.values():
            await lane.aclose()

    async def send(
        self,
        method: str,
        url: str,
        *,
        lane: LaneName = LaneName.CALLS,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        content: bytes | AsyncIterator[bytes] | None = None,
        can_publish: bool = False,
        gate: SendGate | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> Answer:
        """Send one request and return its answer, whatever its status.

        A streamed `content` needs a Content-Length header. `gate` is called right before the first
        byte; what it raises is raised on and the connection closed. Raises TransientError when the
        request was not sent, or was of a kind that cannot publish; UnknownOutcomeError when
        `can_publish` and some byte may have left. Errors name scheme and host only.
        """
        sending = _Sending(gate)
        where = f"{method} {redacted(url)}"
        # Raised outside the handlers: an error's context would keep the request, tokens and all.
        failure: MinitikError
        try:
            request = httpx2.Request(
                method,
                url,
                headers={"Accept": "application/json", "User-Agent": "minitik", **(headers or {})},
                json=json,
                data=dict(form) if form is not None else None,
                content=content,
                extensions={
                    "trace": sending.trace,
                    "timeout": {
                        "connect": CONNECT_SECONDS,
                        "read": read_seconds,
                        "write": WRITE_SECONDS,
                        "pool": LANE_WAIT_SECONDS,
                    },
                },
            )
            async with self._lanes[lane].cell(_origin(url)) as transport:
                return await _exchange(transport, request)
        except MinitikError as error:
            # From the gate or from the media's stream; ours, so it carries no secret.
            failure = error if not sending.started else _cut(where, error, can_publish=can_publish)
        except Exception as error:  # every failure of a transport ends as an outcome class
            failure = _transport_failure(where, error, sending.started and can_publish)
        finally:
            if isinstance(content, AsyncGenerator):
                # Left half read by an early answer, it would keep its source open.
                await content.aclose()
        # What our own media raised may drag the object store's request, a presigned URL, along.
        failure.__context__ = None
        raise failure.with_traceback(None) from None

    async def warm(self, url: str, count: int) -> None:
        """Open connections to `url`'s host for `count` commits at once; failures do not matter."""
        origin = _origin(url)
        missing = count - self._lanes[LaneName.COMMIT].fresh(origin)
        await asyncio.gather(*(self._head(origin) for _ in range(missing)))

    async def keep_ready(self, url: str) -> None:
        """See that one more open connection stands ready for a commit in the next seconds."""
        lane, origin = self._lanes[LaneName.COMMIT], _origin(url)
        if lane.expect(origin):
            async with lane.warming(origin):
                await self._head(origin)

    async def _head(self, origin: str) -> None:
        request = httpx2.Request(
            "HEAD",
            origin + "/",
            headers={"User-Agent": "minitik"},
            extensions={
                "timeout": dict.fromkeys(("connect", "read", "write", "pool"), CONNECT_SECONDS)
            },
        )
        try:
            async with self._lanes[LaneName.COMMIT].cell(origin, to_warm=True) as transport:
                await _exchange(transport, request)
        except (httpx2.TransportError, LaneFullError, OSError):
            # The commit opens its own connection then, a little later.
            return


async def _exchange(transport: httpx2.AsyncHTTPTransport, request: httpx2.Request) -> Answer:
    response = await transport.handle_async_request(request)
    try:
        pieces, size = [], 0
        async for piece in response.aiter_bytes():
            pieces.append(piece)
            size += len(piece)
            if size > _ANSWER_LIMIT_BYTES:
                raise httpx2.ReadError("the answer is too long")
    finally:
        await response.aclose()
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, b"".join(pieces))


def _cut(where: str, error: MinitikError, *, can_publish: bool) -> MinitikError:
    """Our own side failed while the body was on its way (the object store did not answer)."""
    if can_publish and not isinstance(error, NotSentError):
        return UnknownOutcomeError(f"{where}: our media stream broke off", code="media_stream")
    return error


def _transport_failure(where: str, error: Exception, maybe_done: bool) -> PlatformError:
    code, what, unhealthy = "transport", "the call failed", False
    if isinstance(error, LaneFullError | httpx2.PoolTimeout):
        code, what = "lane_full", "no connection came free in time"
    elif isinstance(error, httpx2.ConnectTimeout):
        code, what, unhealthy = "connect_timeout", "no connection within the time", True
    elif isinstance(error, httpx2.TimeoutException):
        code, what, unhealthy = "timeout", "no answer within the time", True
    elif isinstance(error, httpx2.ConnectError):
        code, what, unhealthy = "connect_error", "no connection", True
    elif isinstance(error, httpx2.NetworkError | httpx2.ProtocolError | OSError):
        code, what = "connection_cut", "the connection was cut before the answer"
    cls = UnknownOutcomeError if maybe_done else TransientError
    return cls(f"{where}: {what}", code=code, unhealthy=unhealthy)

"""Fetching a `video_url` as the platforms do: no redirects, streamed, hashed, size-capped."""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx2

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_AT_ONCE: Final = 8
_IO_SECONDS: Final = 10
_PIECE_BYTES: Final = 262_144


@dataclass(frozen=True)
class Fetched:
    """What a URL gave: size, hash and the first bytes in hex; nothing else is kept."""

    bytes: int
    sha256: str
    head: str = ""


@dataclass(frozen=True)
class FetchFailed:
    """Why a URL gave nothing: `timeout`, `too_large` or `unreachable`."""

    reason: str


def fetchable(url: str) -> bool:
    """Tell whether a platform would try this URL: https, or http on loopback (our one exception)."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)


class Fetcher:
    """Downloads a few URLs at a time over one client (a client's TLS set-up costs 20 ms)."""

    def __init__(self) -> None:
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._client: httpx2.AsyncClient | None = None

    async def close(self) -> None:
        """Close the client's connections."""
        if self._client is not None:
            await self._client.aclose()

    async def fetch(self, url: str, max_bytes: int, timeout_ms: int) -> Fetched | FetchFailed:
        """Download `url` and hash it; an answer other than 200 (a redirect too) is a failure."""
        async with self._gate:
            try:
                async with asyncio.timeout(timeout_ms / 1000):
                    return await self._download(url, max_bytes)
            except TimeoutError:
                return FetchFailed("timeout")
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError):
                return FetchFailed("unreachable")

    async def _download(self, url: str, max_bytes: int) -> Fetched | FetchFailed:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                follow_redirects=False, trust_env=False, timeout=_IO_SECONDS
            )
        digest, size, head = hashlib.sha256(), 0, b""
        async with self._client.stream("GET", url) as response:
            if response.status_code != 200:
                return FetchFailed("unreachable")
            async for piece in response.aiter_bytes(_PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
                head = head or piece[:16]
                if size > max_bytes:
                    return FetchFailed("too_large")
        return Fetched(size, digest.hexdigest(), head.hex()) if size else FetchFailed("unreachable")

"""Fetching a `video_url` as the platforms do: no redirects, streamed, hashed, size-capped."""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx2

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_AT_ONCE: Final = 8


@dataclass(frozen=True)
class Fetched:
    """What a URL gave: size, hash, nothing else is kept."""

    bytes: int
    sha256: str


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
    """Downloads a few URLs at a time."""

    def __init__(self) -> None:
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, url: str, max_bytes: int, timeout_ms: int) -> Fetched | FetchFailed:
        """Download `url` and hash it; an answer other than 200 (a redirect too) is a failure."""
        async with self._gate:
            try:
                async with asyncio.timeout(timeout_ms / 1000):
                    return await _download(url, max_bytes)
            except TimeoutError:
                return FetchFailed("timeout")
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError):
                return FetchFailed("unreachable")


async def _download(url: str, max_bytes: int) -> Fetched | FetchFailed:
    digest, size = hashlib.sha256(), 0
    async with (
        httpx2.AsyncClient(follow_redirects=False, trust_env=False, timeout=10) as client,
        client.stream("GET", url) as response,
    ):
        if response.status_code != 200:
            return FetchFailed("unreachable")
        async for piece in response.aiter_bytes(262_144):
            digest.update(piece)
            size += len(piece)
            if size > max_bytes:
                return FetchFailed("too_large")
    return Fetched(size, digest.hexdigest()) if size else FetchFailed("unreachable")

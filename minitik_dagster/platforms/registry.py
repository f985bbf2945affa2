"""The platform clients of one process: made from Settings, each with connections of its own."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from minitik_dagster.clock import Clock, SystemClock
from minitik_dagster.db.types import Platform
from minitik_dagster.outbound import Outbound
from minitik_dagster.platforms.endpoints import Endpoints
from minitik_dagster.platforms.http import PlatformHttp
from minitik_dagster.platforms.instagram import InstagramClient
from minitik_dagster.platforms.oauth import (
    ConsentFlow,
    GoogleConsent,
    InstagramConsent,
    TikTokConsent,
)
from minitik_dagster.platforms.port import PlatformClient
from minitik_dagster.platforms.tiktok import TikTokClient
from minitik_dagster.platforms.youtube import YouTubeClient
from minitik_dagster.settings import Settings

_Make = Callable[[PlatformHttp, Endpoints, Clock, Outbound], PlatformClient]
_CLIENTS: dict[Platform, _Make] = {
    Platform.TIKTOK: lambda http, endpoints, clock, _: TikTokClient(http, endpoints, clock),
    Platform.INSTAGRAM: InstagramClient,
    Platform.YOUTUBE: YouTubeClient,
}


class PlatformClients:
    """`async with PlatformClients(settings) as clients: clients.client(platform)`.

    Belongs to one event loop; leaving closes every connection.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        endpoints = Endpoints.from_settings(settings)
        outbound = Outbound(loopback=settings.platform_world == "sandbox")
        self._https = {platform: PlatformHttp() for platform in Platform}
        self._clients = {
            platform: make(self._https[platform], endpoints, clock or SystemClock(), outbound)
            for platform, make in _CLIENTS.items()
        }
        self._consents: dict[Platform, ConsentFlow] = {
            Platform.TIKTOK: TikTokConsent(
                self._https[Platform.TIKTOK], settings, endpoints.tiktok_app
            ),
            Platform.INSTAGRAM: InstagramConsent(
                self._https[Platform.INSTAGRAM], settings, endpoints.instagram_app
            ),
            Platform.YOUTUBE: GoogleConsent(
                self._https[Platform.YOUTUBE], settings, endpoints.google_app
            ),
        }
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for http in self._https.values():
            await self._open.enter_async_context(http)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    def client(self, platform: Platform) -> PlatformClient:
        """Return the client of a platform."""
        return self._clients[platform]

    def consent(self, platform: Platform) -> ConsentFlow:
        """Return how an account of a platform is connected."""
        return self._consents[platform]

    def tiktok(self) -> TikTokClient:
        """Return TikTok's client, for what only TikTok has."""
        client = self._clients[Platform.TIKTOK]
        assert isinstance(client, TikTokClient)
        return client

"""Where each platform's API is and which app we are there: from Settings, nowhere else."""

from dataclasses import dataclass
from typing import Self

from pydantic import SecretStr

from minitik_dagster.errors import ConfigurationError
from minitik_dagster.settings import Settings


@dataclass(frozen=True)
class App:
    """Our registered application at a platform; both parts are needed to get or refresh tokens."""

    client_id: str | None
    client_secret: SecretStr | None
    variables: str

    def credentials(self) -> tuple[str, str]:
        """Return id and secret in plain text; raises ConfigurationError when one is not set."""
        if self.client_id is None or self.client_secret is None:
            raise ConfigurationError(
                [f"{self.variables} must be set to connect accounts and refresh tokens"]
            )
        return self.client_id, self.client_secret.get_secret_value()


@dataclass(frozen=True)
class Endpoints:
    """Base URLs without a trailing slash, and the apps' credentials."""

    tiktok_api: str
    instagram_graph: str
    instagram_version: str
    google_oauth: str
    youtube_api: str
    youtube_analytics: str
    tiktok_app: App
    instagram_app: App
    google_app: App

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read them from the environment's settings."""
        return cls(
            tiktok_api=settings.tiktok_api_base_url,
            instagram_graph=settings.instagram_graph_base_url,
            instagram_version=settings.instagram_graph_version,
            google_oauth=settings.google_oauth_base_url,
            youtube_api=settings.youtube_api_base_url,
            youtube_analytics=settings.youtube_analytics_base_url,
            tiktok_app=App(
                settings.tiktok_client_id,
                settings.tiktok_client_secret,
                "TIKTOK_CLIENT_ID and TIKTOK_CLIENT_SECRET",
            ),
            instagram_app=App(
                settings.instagram_client_id,
                settings.instagram_client_secret,
                "INSTAGRAM_CLIENT_ID and INSTAGRAM_CLIENT_SECRET",
            ),
            google_app=App(
                settings.google_client_id,
                settings.google_client_secret,
                "GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET",
            ),
        )

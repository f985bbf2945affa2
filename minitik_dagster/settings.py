"""Every environment variable, read and validated once, here and nowhere else.

`Settings()` reads the environment (and nothing else); `load_settings()` turns all problems of a bad
environment into one `ConfigurationError`. Secrets are `SecretStr`: they never print.
"""

import base64
import json
import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    PositiveInt,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from minitik_dagster.errors import ConfigurationError
from minitik_dagster.hosts import LOOPBACK_HOSTS, allowed_hosts, read_host_names

ENCRYPTION_KEY_MESSAGE = (
    "ENCRYPTION_KEY must be 32 bytes (64 hex characters); make one with: openssl rand -hex 32"
)
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
_REAL_HOSTS = {
    "tiktok_auth_base_url": "https://www.tiktok.com",
    "tiktok_api_base_url": "https://open.tiktokapis.com",
    "instagram_auth_base_url": "https://www.instagram.com",
    "instagram_api_base_url": "https://api.instagram.com",
    "instagram_graph_base_url": "https://graph.instagram.com",
    "google_auth_base_url": "https://accounts.google.com",
    "google_oauth_base_url": "https://oauth2.googleapis.com",
    "youtube_api_base_url": "https://www.googleapis.com",
    "youtube_analytics_base_url": "https://youtubeanalytics.googleapis.com",
}
LimitName = Literal[
    "tiktok.init",
    "tiktok.posts",
    "tiktok.status",
    "tiktok.creator_info",
    "instagram.posts",
    "instagram.containers",
    "youtube.uploads",
    "youtube.units",
    "tiktok.metrics",
    "instagram.metrics",
    "youtube.metrics",
    "youtube.reports",
    "tiktok.refresh",
    "instagram.refresh",
    "youtube.refresh",
    "tiktok.probe",
    "instagram.probe",
    "youtube.probe",
]


class Settings(BaseSettings):
    """The environment, typed. Field names are the variables' names in lower case."""

    model_config = SettingsConfigDict(
        env_prefix="", case_sensitive=False, extra="ignore", env_ignore_empty=True
    )

    # Servers
    database_url: SecretStr | None = None
    direct_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    mongodb_uri: SecretStr | None = None
    mongodb_db: str = "minitik_analytics"
    dagster_postgres_url: SecretStr | None = None
    aws_region: str = "us-east-1"
    aws_access_key_id: SecretStr | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_s3_bucket: str | None = None
    aws_endpoint_url_s3: str | None = None
    media_public_base_url: str | None = None

    # The application
    nextauth_url: str = "http://127.0.0.1:8000"
    nextauth_secret: SecretStr | None = None
    encryption_key: SecretStr | None = None
    encryption_key_previous: SecretStr | None = None
    admin_emails: Annotated[frozenset[str], NoDecode] = frozenset()
    signup: Literal["open", "closed"] = "closed"
    trusted_proxies: str = ""
    minitik_allowed_hosts: str = ""
    resend_api_key: SecretStr | None = None
    email_from: str | None = None
    vapid_public_key: str | None = None
    vapid_private_key: SecretStr | None = None
    vapid_subject: str | None = None

    # The platforms' apps and hosts
    tiktok_client_id: str | None = None
    tiktok_client_secret: SecretStr | None = None
    tiktok_pull_domain: str | None = None
    instagram_client_id: str | None = None
    instagram_client_secret: SecretStr | None = None
    google_client_id: str | None = None
    google_client_secret: SecretStr | None = None
    tiktok_auth_base_url: str = _REAL_HOSTS["tiktok_auth_base_url"]
    tiktok_api_base_url: str = _REAL_HOSTS["tiktok_api_base_url"]
    instagram_auth_base_url: str = _REAL_HOSTS["instagram_auth_base_url"]
    instagram_api_base_url: str = _REAL_HOSTS["instagram_api_base_url"]
    instagram_graph_base_url: str = _REAL_HOSTS["instagram_graph_base_url"]
    instagram_graph_version: str = "v25.0"
    google_auth_base_url: str = _REAL_HOSTS["google_auth_base_url"]
    google_oauth_base_url: str = _REAL_HOSTS["google_oauth_base_url"]
    youtube_api_base_url: str = _REAL_HOSTS["youtube_api_base_url"]
    youtube_analytics_base_url: str = _REAL_HOSTS["youtube_analytics_base_url"]

    # The engine
    minitik_home: str = ".minitik"
    dagster_home: str | None = None
    minitik_dispatch: Literal["on", "off"] = "on"
    minitik_instance: str | None = None
    minitik_lease_seconds: float = Field(default=30.0, ge=1, le=600)
    minitik_settle_tiktok_seconds: float = Field(default=60.0, ge=0)
    minitik_settle_instagram_seconds: float = Field(default=180.0, ge=0)
    minitik_settle_youtube_seconds: float = Field(default=0.0, ge=0)
    minitik_send_deadline_seconds: float = Field(default=5.0, gt=0, le=30)
    minitik_commit_lead_seconds: float = Field(default=0.5, ge=0, le=2)
    minitik_hold_seconds: float = Field(default=120.0, ge=5, le=600)
    minitik_window_seconds: float = Field(default=900.0, ge=30)
    minitik_idle_seconds: float = Field(default=120.0, ge=1)
    minitik_concurrent_uploads: int = Field(default=16, ge=1, le=256)
    minitik_concurrent_uploads_total: int = Field(default=32, ge=1, le=512)
    minitik_concurrent_uploads_per_account: int = Field(default=4, ge=1, le=64)
    minitik_claim_limit: int = Field(default=2000, ge=1)
    minitik_max_skew_seconds: float = Field(default=2.0, gt=0)
    minitik_confirm_ladder: Annotated[tuple[float, ...], NoDecode] = (
        1, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600,
    )  # fmt: skip
    minitik_live_checks: Annotated[tuple[float, ...], NoDecode] = Field(
        default=(300, 3600, 86400), min_length=1
    )
    minitik_tiktok_init_per_minute: int = Field(default=3, ge=1)
    minitik_refreshes_at_once: int = Field(default=16, ge=1, le=200)
    minitik_refresh_min_seconds: float = Field(default=60.0, ge=0, le=3600)
    minitik_api_requests_per_minute: int = Field(default=600, ge=0)
    minitik_storage_bytes_per_user: int = Field(default=100 * 1024**3, ge=1)
    minitik_log_format: Literal["json", "human"] = "json"
    minitik_alert_urls: SecretStr | None = None
    minitik_limits: Annotated[dict[LimitName, PositiveInt], NoDecode] = Field(default_factory=dict)

    # Programs that call the API (`minitik upload`)
    minitik_api_url: str | None = None
    minitik_api_key: SecretStr | None = None

    @field_validator("encryption_key")
    @classmethod
    def _key_is_32_bytes(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _HEX_KEY.fullmatch(value.get_secret_value().strip()):
            raise ValueError(ENCRYPTION_KEY_MESSAGE)
        return value

    @field_validator("encryption_key_previous")
    @classmethod
    def _previous_keys_are_32_bytes(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            for key in value.get_secret_value().split(","):
                if not _HEX_KEY.fullmatch(key.strip()):
                    raise ValueError(
                        "ENCRYPTION_KEY_PREVIOUS must hold keys of 64 hex characters, "
                        "separated by commas"
                    )
        return value

    @field_validator("vapid_public_key", "vapid_private_key")
    @classmethod
    def _is_vapid_key(cls, value: Any, info: ValidationInfo) -> Any:
        size = 65 if info.field_name == "vapid_public_key" else 32
        given = value.get_secret_value() if isinstance(value, SecretStr) else value
        try:
            plain = base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)) if given else b""
        except ValueError:
            plain = b"-"
        if given and len(plain) != size:
            raise ValueError(f"must be {size} bytes in base64url: minitik keys vapid makes a pair")
        return value

    @field_validator("vapid_subject")
    @classmethod
    def _is_vapid_subject(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("mailto:", "https:")):
            raise ValueError("must begin with mailto: or https:")
        return value

    @field_validator("admin_emails", mode="before")
    @classmethod
    def _split_emails(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(part.strip().lower() for part in value.split(",") if part.strip())
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, value: str) -> str:
        _networks(value)
        return value

    @field_validator("minitik_allowed_hosts")
    @classmethod
    def _hosts_are_names(cls, value: str) -> str:
        read_host_names(value)
        return value

    @field_validator("minitik_confirm_ladder", "minitik_live_checks", mode="before")
    @classmethod
    def _split_ladder(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(float(part) for part in value.split(",") if part.strip())
        return value

    @field_validator("minitik_limits", mode="before")
    @classmethod
    def _read_limits(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                return json.loads(value)
            except ValueError:
                raise ValueError("must be a JSON object of budgets by limit's name") from None
        return value

    @field_validator("database_url", "direct_url", "dagster_postgres_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value.get_secret_value())
            _ = parts.port
        except ValueError:  # its own text repeats a part of the value
            raise ValueError("is no URL: check the host and the port") from None
        if parts.scheme not in {"postgresql", "postgres"}:
            raise ValueError("must begin with postgresql:// or postgres://")
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        begins = ("redis://", "rediss://", "unix://")
        if value is not None and not value.get_secret_value().startswith(begins):
            raise ValueError(f"must begin with {', '.join(begins)}")
        return value

    @field_validator("mongodb_uri")
    @classmethod
    def _is_mongodb(cls, value: SecretStr | None) -> SecretStr | None:
        begins = ("mongodb://", "mongodb+srv://")
        if value is not None and not value.get_secret_value().startswith(begins):
            raise ValueError(f"must begin with {' or '.join(begins)}")
        return value

    @field_validator(
        *_REAL_HOSTS,
        "aws_endpoint_url_s3",
        "media_public_base_url",
        "nextauth_url",
        "minitik_api_url",
    )
    @classmethod
    def _is_http_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            known = False
        if not known:
            raise ValueError("must be a URL that begins with https:// (or http:// on loopback)")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _hosts_point_one_way(self) -> Self:
        if self._loopback_hosts() not in {0, len(_REAL_HOSTS)}:
            names = ", ".join(name.upper() for name in _REAL_HOSTS)
            raise ValueError(
                f"platform hosts are mixed: point all of {names} to loopback, or none of them"
            )
        return self

    def _loopback_hosts(self) -> int:
        return sum(
            urlsplit(str(getattr(self, name))).hostname in LOOPBACK_HOSTS for name in _REAL_HOSTS
        )

    @property
    def platform_world(self) -> Literal["live", "sandbox"]:
        """Where the platform hosts point: `sandbox` when all are loopback, else `live`."""
        return "sandbox" if self._loopback_hosts() else "live"

    def trusted_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """TRUSTED_PROXIES as networks: whose X-Forwarded-For is believed."""
        return _networks(self.trusted_proxies)

    def allowed_hosts(self) -> frozenset[str]:
        """The host names our servers answer for: loopback, NEXTAUTH_URL's and MINITIK_ALLOWED_HOSTS."""
        return allowed_hosts(self.nextauth_url, self.minitik_allowed_hosts)

    def alert_urls(self) -> tuple[str, ...]:
        """MINITIK_ALERT_URLS one by one: where alerts are sent to. They hold credentials."""
        given = self.minitik_alert_urls
        return tuple(given.get_secret_value().split()) if given is not None else ()

    def encryption_keys(self) -> tuple[bytes, ...]:
        """The present key first, then the previous ones, each 32 bytes.

        Raises ConfigurationError when ENCRYPTION_KEY is missing.
        """
        if self.encryption_key is None:
            raise ConfigurationError([ENCRYPTION_KEY_MESSAGE])
        texts = [self.encryption_key.get_secret_value().strip()]
        if self.encryption_key_previous is not None:
            texts += [k.strip() for k in self.encryption_key_previous.get_secret_value().split(",")]
        return tuple(bytes.fromhex(text) for text in texts)

    def require_database_url(self) -> str:
        """DATABASE_URL in plain text; raises ConfigurationError when it is not set."""
        if self.database_url is None:
            raise ConfigurationError(["DATABASE_URL is not set; `minitik up` starts a database"])
        return self.database_url.get_secret_value()


def _networks(value: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(
            ip_network(part.strip(), strict=False) for part in value.split(",") if part.strip()
        )
    except ValueError:
        raise ValueError(
            "TRUSTED_PROXIES must hold addresses or networks, separated by commas: 10.0.0.0/8, ::1"
        ) from None


def load_settings() -> Settings:
    """Read the environment; raise one ConfigurationError that names every problem at once.

    No value is repeated in the error: it may be a secret.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise ConfigurationError(list(_problems(error).values())) from None


def examine_environment() -> tuple[Settings | None, dict[str, str]]:
    """Read what is fit of the environment, and return its problems by the variable's name.

    A variable with a problem reads as if it were not set, so that the rest can be looked at; None
    where the variables do not go together at all. The name of such a problem is empty.
    """
    try:
        return Settings(), {}
    except ValidationError as error:
        problems = _problems(error)
    fields = Settings.model_fields
    unfit = {name.split(".")[0].lower() for name in problems if name}
    defaults = {name: fields[name].get_default(call_default_factory=True) for name in unfit}
    try:
        return Settings(**defaults), problems
    except ValidationError as error:
        return None, problems | _problems(error)


def _problems(error: ValidationError) -> dict[str, str]:
    problems = {}
    for item in error.errors(include_input=False, include_url=False):
        name = ".".join(str(part) for part in item["loc"]).upper()
        message = item["msg"].removeprefix("Value error, ")
        message = message.replace("Input should ", "must ", 1)
        problems[name] = message if not name or name in message else f"{name}: {message}"
    return problems


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the process's settings, read once."""
    return load_settings()

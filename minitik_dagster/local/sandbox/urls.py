"""Where each platform host lives inside the one sandbox server."""

from typing import Final

PREFIXES: Final[dict[str, str]] = {
    "TIKTOK_AUTH_BASE_URL": "/tiktok-www",
    "TIKTOK_API_BASE_URL": "/tiktok",
    "INSTAGRAM_AUTH_BASE_URL": "/instagram-www",
    "INSTAGRAM_API_BASE_URL": "/instagram-api",
    "INSTAGRAM_GRAPH_BASE_URL": "/instagram-graph",
    "GOOGLE_AUTH_BASE_URL": "/google-accounts",
    "GOOGLE_OAUTH_BASE_URL": "/google-oauth",
    "YOUTUBE_API_BASE_URL": "/youtube",
    "YOUTUBE_ANALYTICS_BASE_URL": "/youtube-analytics",
}

APP_CREDENTIALS: Final[dict[str, str]] = {
    "TIKTOK_CLIENT_ID": "sandbox-tiktok-client",
    "TIKTOK_CLIENT_SECRET": "sandbox-tiktok-secret",
    "INSTAGRAM_CLIENT_ID": "sandbox-instagram-client",
    "INSTAGRAM_CLIENT_SECRET": "sandbox-instagram-secret",
    "GOOGLE_CLIENT_ID": "sandbox-google-client",
    "GOOGLE_CLIENT_SECRET": "sandbox-google-secret",
}
"""App credentials to use against the sandbox; it takes any non-empty pair unless told otherwise."""


def platform_environment(base: str) -> dict[str, str]:
    """Return the platform host variables that point every platform at the sandbox at `base`."""
    root = base.rstrip("/")
    return {name: root + prefix for name, prefix in PREFIXES.items()}

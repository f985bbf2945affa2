"""Connecting an account: each platform's consent page, and its code turned into tokens.

URLs, PKCE and form bodies are made by Authlib. Sources: "Login Kit for Web" and "Manage User Access
Tokens" (developers.tiktok.com; PKCE there is for desktop and mobile apps only), "Business Login for
Instagram" (developers.facebook.com; no PKCE), "Using OAuth 2.0 for Web Server Applications"
(developers.google.com).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from pydantic import SecretStr

from minitik_dagster.db.types import Platform
from minitik_dagster.platforms.answers import Answer, dig
from minitik_dagster.platforms.endpoints import App
from minitik_dagster.platforms.http import PlatformHttp
from minitik_dagster.platforms.oauth_refusals import read_refusal
from minitik_dagster.platforms.port import TokenSet
from minitik_dagster.platforms.tokens import read_tokens
from minitik_dagster.settings import Settings

GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/"
# What is asked for: publishing, its check afterwards, figures. Nothing else.
REQUESTED_SCOPES: Final[Mapping[Platform, tuple[str, ...]]] = {
    Platform.TIKTOK: ("user.info.basic", "video.publish", "video.list"),
    Platform.INSTAGRAM: (
        "instagram_business_basic",
        "instagram_business_content_publish",
        "instagram_business_manage_insights",
    ),
    Platform.YOUTUBE: (
        GOOGLE_SCOPE + "youtube",
        GOOGLE_SCOPE + "youtube.readonly",
        GOOGLE_SCOPE + "yt-analytics.readonly",
    ),
}
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


class ConsentFlow(Protocol):
    """One platform's authorization code flow."""

    uses_pkce: bool

    def authorize_url(self, state: str, redirect_uri: str, verifier: SecretStr | None) -> str:
        """Return the consent page's URL; ConfigurationError when our app is not configured."""
        ...

    async def exchange(
        self, code: SecretStr, redirect_uri: str, verifier: SecretStr | None
    ) -> TokenSet:
        """Turn a code into tokens that last, and the scopes that were granted.

        Raises NotConnectedError for a refusal, TransientError where trying again may help. A code is
        sent once and never again: it is single-use.
        """
        ...


class _CodeGrant:
    """What the three flows share: our app, the platform's consent page, and its token endpoint."""

    platform: Platform
    uses_pkce = False

    def __init__(self, http: PlatformHttp, app: App, *, page: str, token: str) -> None:
        self._http = http
        self._app = app
        self._page = page
        self._token = token

    async def _ask(self, code: SecretStr, redirect_uri: str, **fields: str) -> Answer:
        body = prepare_token_request(
            "authorization_code", redirect_uri=redirect_uri, code=code.get_secret_value(), **fields
        )
        return await self._http.send("POST", self._token, headers=_FORM, content=str(body).encode())

    def _opened(self, answer: Answer, inner: Any = None) -> Mapping[str, Any]:
        """Return an answer's fields when it has a token, else raise what the refusal means."""
        got: Mapping[str, Any] = inner if isinstance(inner, Mapping) else answer.json
        token = got.get("access_token")
        if answer.status == 200 and isinstance(token, str) and token:
            return got
        error = got.get("error")
        words = (
            got.get("error_description")
            or got.get("error_message")
            or (error.get("message") if isinstance(error, Mapping) else None)
        )
        code = error if isinstance(error, str) else str(dig(error, "code") or "")
        raise read_refusal(self.platform, code, words, status=answer.status)

    def _granted(self, got: Mapping[str, Any], *, separator: str) -> TokenSet:
        """Read the tokens; scopes left out are the ones that were asked for."""
        tokens = read_tokens(got, separator=separator)
        if isinstance(got.get("scope"), str):
            return tokens
        return replace(tokens, scopes=REQUESTED_SCOPES[self.platform])


class TikTokConsent(_CodeGrant):
    """TikTok: `client_key`, scopes separated by commas, access and refresh token."""

    platform = Platform.TIKTOK

    def __init__(self, http: PlatformHttp, settings: Settings, app: App) -> None:
        super().__init__(
            http,
            app,
            page=settings.tiktok_auth_base_url + "/v2/auth/authorize/",
            token=settings.tiktok_api_base_url + "/v2/oauth/token/",
        )

    def authorize_url(self, state: str, redirect_uri: str, verifier: SecretStr | None) -> str:
        """Return the URL; no client_id is in it, so Authlib's grant URI does not fit."""
        client, _ = self._app.credentials()
        return str(
            add_params_to_uri(
                self._page,
                [
                    ("client_key", client),
                    ("response_type", "code"),
                    ("scope", ",".join(REQUESTED_SCOPES[self.platform])),
                    ("redirect_uri", redirect_uri),
                    ("state", state),
                ],
            )
        )

    async def exchange(
        self, code: SecretStr, redirect_uri: str, verifier: SecretStr | None
    ) -> TokenSet:
        """Ask /v2/oauth/token/; its errors are flat, and may come with HTTP 200."""
        client, secret = self._app.credentials()
        answer = await self._ask(code, redirect_uri, client_key=client, client_secret=secret)
        return self._granted(self._opened(answer), separator=",")


class InstagramConsent(_CodeGrant):
    """Instagram: a short-lived token is exchanged for one of 60 days; there is no refresh token."""

    platform = Platform.INSTAGRAM

    def __init__(self, http: PlatformHttp, settings: Settings, app: App) -> None:
        super().__init__(
            http,
            app,
            page=settings.instagram_auth_base_url + "/oauth/authorize",
            token=settings.instagram_api_base_url + "/oauth/access_token",
        )
        self._long = settings.instagram_graph_base_url + "/access_token"

    def authorize_url(self, state: str, redirect_uri: str, verifier: SecretStr | None) -> str:
        """Return the URL; scopes are separated by commas."""
        client, _ = self._app.credentials()
        return str(
            prepare_grant_uri(
                self._page,
                client,
                "code",
                redirect_uri=redirect_uri,
                scope=",".join(REQUESTED_SCOPES[self.platform]),
                state=state,
            )
        )

    async def exchange(
        self, code: SecretStr, redirect_uri: str, verifier: SecretStr | None
    ) -> TokenSet:
        """Ask for both tokens; the first answer is wrapped in `data`, or flat in the older form."""
        client, secret = self._app.credentials()
        answer = await self._ask(code, redirect_uri, client_id=client, client_secret=secret)
        short = self._opened(answer, dig(answer.json, "data", 0))
        granted = short.get("permissions")
        if isinstance(granted, list):
            granted = ",".join(str(one) for one in granted)
        url = add_params_to_uri(
            self._long,
            [
                ("grant_type", "ig_exchange_token"),
                ("client_secret", secret),
                ("access_token", str(short["access_token"])),
            ],
        )
        got = self._opened(await self._http.send("GET", str(url)))
        return self._granted({**got, "scope": granted}, separator=",")


class GoogleConsent(_CodeGrant):
    """Google, for YouTube: PKCE, and a refresh token for each consent (offline, prompt=consent)."""

    platform = Platform.YOUTUBE
    uses_pkce = True

    def __init__(self, http: PlatformHttp, settings: Settings, app: App) -> None:
        super().__init__(
            http,
            app,
            page=settings.google_auth_base_url + "/o/oauth2/v2/auth",
            token=settings.google_oauth_base_url + "/token",
        )

    def authorize_url(self, state: str, redirect_uri: str, verifier: SecretStr | None) -> str:
        """Return the URL with the S256 challenge of `verifier`."""
        client, _ = self._app.credentials()
        proof = (
            {}
            if verifier is None
            else {
                "code_challenge": create_s256_code_challenge(verifier.get_secret_value()),
                "code_challenge_method": "S256",
            }
        )
        return str(
            prepare_grant_uri(
                self._page,
                client,
                "code",
                redirect_uri=redirect_uri,
                scope=" ".join(REQUESTED_SCOPES[self.platform]),
                state=state,
                access_type="offline",
                prompt="consent",
                **proof,
            )
        )

    async def exchange(
        self, code: SecretStr, redirect_uri: str, verifier: SecretStr | None
    ) -> TokenSet:
        """Ask /token with the verifier; the answer may lack a refresh token."""
        client, secret = self._app.credentials()
        answer = await self._ask(
            code,
            redirect_uri,
            client_id=client,
            client_secret=secret,
            code_verifier="" if verifier is None else verifier.get_secret_value(),
        )
        return self._granted(self._opened(answer), separator=" ")

"""TikTok's hosts, put together: addresses, whose request it is, injected answers."""

from typing import Final

from minitik_dagster.local.sandbox.consent import Consent
from minitik_dagster.local.sandbox.http import Call, Handler, Reply, Route
from minitik_dagster.local.sandbox.tiktok.envelope import (
    CODE_OF,
    OAUTH_NAMES,
    STATUS_OF,
    error,
    oauth_error,
)
from minitik_dagster.local.sandbox.tiktok.oauth import TikTokOAuth
from minitik_dagster.local.sandbox.tiktok.publishing import TikTokPublishing
from minitik_dagster.local.sandbox.tiktok.upload import TikTokUpload, is_last_chunk
from minitik_dagster.local.sandbox.tiktok.videos import TikTokVideos
from minitik_dagster.local.sandbox.world import World

_UPLOAD_PREFIX: Final = "/tiktok-upload"


class TikTok:
    """open.tiktokapis.com, its upload host and www.tiktok.com's consent page."""

    name = "tiktok"
    prefixes: tuple[str, ...] = ("/tiktok", _UPLOAD_PREFIX, "/tiktok-www")

    def __init__(self, world: World) -> None:
        self._world = world
        oauth, publishing = TikTokOAuth(world), TikTokPublishing(world)
        self._publishing = publishing
        videos = TikTokVideos(world)
        self._upload = TikTokUpload(world)
        consent = Consent(world, "tiktok")
        table: dict[tuple[str, str], tuple[str, Handler]] = {
            ("POST", "/tiktok/v2/oauth/token/"): ("token", oauth.token),
            ("POST", "/tiktok/v2/oauth/revoke/"): ("revoke", oauth.revoke),
            ("POST", "/tiktok/v2/post/publish/creator_info/query/"): (
                "creator_info",
                publishing.creator_info,
            ),
            ("POST", "/tiktok/v2/post/publish/video/init/"): ("init", publishing.init),
            ("POST", "/tiktok/v2/post/publish/status/fetch/"): ("status", publishing.status),
            ("POST", "/tiktok/v2/post/publish/cancel/"): ("cancel", publishing.cancel),
            ("POST", "/tiktok/v2/video/list/"): ("list", videos.listed),
            ("POST", "/tiktok/v2/video/query/"): ("list", videos.queried),
            ("GET", "/tiktok/v2/user/info/"): ("profile", videos.user_info),
            ("GET", "/tiktok-www/v2/auth/authorize/"): ("consent", consent.page),
            ("GET", "/tiktok-www/v2/auth/authorize"): ("consent", consent.page),
            ("POST", "/tiktok-www/v2/auth/authorize/"): ("consent", consent.decide),
        }
        self._routes = {key: Route(*value) for key, value in table.items()}
        self._chunk = Route("chunk", self._upload.put)
        self._last_chunk = Route("last_chunk", self._upload.put)

    def resume(self) -> None:
        """Mark uploads that a restart has cut off; called once when the server starts."""
        self._upload.give_up_unfinished()
        self._publishing.resume_pulls()

    def route(self, call: Call) -> Route | None:
        """Return who answers; a PUT is `last_chunk` when its range ends the file."""
        if call.prefix == _UPLOAD_PREFIX:
            if call.method != "PUT" or call.path != "/video/":
                return None
            return self._last_chunk if is_last_chunk(call) else self._chunk
        return self._routes.get((call.method, call.prefix + call.path))

    async def account_of(self, call: Call) -> str | None:
        """Return the account of the token, the upload URL, or the OAuth form's token."""
        if call.prefix == _UPLOAD_PREFIX:
            row = self._upload.find(call)
            return row["account"] if row else None
        text = call.bearer()
        if text is None and call.path.startswith("/v2/oauth/"):
            form = await call.form()
            text = form.get("refresh_token") or form.get("token") or form.get("code")
        token = self._world.accounts.token("tiktok", text)
        return token.account if token else None

    def refusal(self, status: int, code: str | None) -> Reply:
        """Return an error in TikTok's envelope (flat for the OAuth error names)."""
        if code in OAUTH_NAMES:
            return oauth_error(code, "Injected.", status)
        name = code or CODE_OF.get(status, "internal_error")
        return error(name, "Injected.", status)

    def not_found(self) -> Reply:
        """Refuse an address that does not exist."""
        return error("invalid_params", "Unsupported path.", 404)

    def throttled(self, call: Call, code: str | None) -> Reply:
        """Return 429 rate_limit_exceeded, or `code` with its own status."""
        name = code or "rate_limit_exceeded"
        return error(name, "Too many requests.", STATUS_OF.get(name, 429))

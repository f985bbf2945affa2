"""Google's hosts, put together: addresses, whose request it is, injected answers."""

from minitik_dagster.local.sandbox.consent import Consent
from minitik_dagster.local.sandbox.http import Call, Handler, Reply, Route
from minitik_dagster.local.sandbox.world import World
from minitik_dagster.local.sandbox.youtube.channel import YouTubeChannel
from minitik_dagster.local.sandbox.youtube.envelope import (
    OAUTH_NAMES,
    REASON_OF,
    STATUS_OF,
    google_error,
    oauth_error,
)
from minitik_dagster.local.sandbox.youtube.oauth import GoogleOAuth
from minitik_dagster.local.sandbox.youtube.quota import Quota
from minitik_dagster.local.sandbox.youtube.upload import YouTubeUpload, is_query
from minitik_dagster.local.sandbox.youtube.videos import YouTubeVideos

_UPLOAD_PATH = "/upload/youtube/v3/videos"


class YouTube:
    """www.googleapis.com, oauth2.googleapis.com, accounts.google.com and YouTube Analytics."""

    name = "youtube"
    prefixes: tuple[str, ...] = (
        "/youtube",
        "/google-oauth",
        "/google-accounts",
        "/youtube-analytics",
    )

    def __init__(self, world: World) -> None:
        self._world = world
        quota = Quota(world)
        videos = YouTubeVideos(world, quota)
        channel, oauth = YouTubeChannel(world, videos, quota), GoogleOAuth(world)
        self.videos = videos
        self._upload = YouTubeUpload(world, videos, quota)
        consent = Consent(world, "youtube")
        table: dict[tuple[str, str], tuple[str, Handler]] = {
            ("POST", "/google-oauth/token"): ("token", oauth.token),
            ("POST", "/google-oauth/revoke"): ("revoke", oauth.revoke),
            ("GET", "/google-accounts/o/oauth2/v2/auth"): ("consent", consent.page),
            ("POST", "/google-accounts/o/oauth2/v2/auth"): ("consent", consent.decide),
            ("POST", "/youtube" + _UPLOAD_PATH): ("session", self._upload.start),
            ("GET", "/youtube/youtube/v3/videos"): ("list", videos.listed),
            ("PUT", "/youtube/youtube/v3/videos"): ("update", videos.update),
            ("DELETE", "/youtube/youtube/v3/videos"): ("delete", videos.delete),
            ("GET", "/youtube/youtube/v3/channels"): ("channel", channel.channels),
            ("GET", "/youtube/youtube/v3/playlistItems"): ("uploads_list", channel.playlist_items),
            ("GET", "/youtube/youtube/v3/videos:batchGetStats"): ("stats", channel.batch_stats),
            ("POST", "/youtube/upload/youtube/v3/thumbnails/set"): ("thumbnail", videos.thumbnail),
            ("GET", "/youtube-analytics/v2/reports"): ("analytics", channel.reports),
        }
        self._routes = {key: Route(*value) for key, value in table.items()}
        self._put = Route("upload", self._upload.put)
        self._query = Route("status", self._upload.query)

    def resume(self) -> None:
        """Expire sessions that a restart has cut off; called once when the server starts."""
        self._upload.give_up_unfinished()

    def route(self, call: Call) -> Route | None:
        """Return who answers; a PUT with `bytes */N` only asks for a session's state."""
        if call.method == "PUT" and call.prefix == "/youtube" and call.path == _UPLOAD_PATH:
            return self._query if is_query(call) else self._put
        return self._routes.get((call.method, call.prefix + call.path))

    async def account_of(self, call: Call) -> str | None:
        """Return the channel of the token, the session URI, or the OAuth form's token."""
        if call.path == _UPLOAD_PATH and call.method == "PUT":
            row = self._upload.find(call)
            return row["account"] if row else None
        text = call.bearer() or call.query.get("access_token")
        if text is None and call.prefix == "/google-oauth":
            form = await call.form()
            text = form.get("refresh_token") or form.get("token") or form.get("code")
        token = self._world.accounts.token("youtube", text)
        return token.account if token else None

    def refusal(self, status: int, code: str | None) -> Reply:
        """Return an error in Google's envelope (flat for the OAuth error names)."""
        if code in OAUTH_NAMES:
            return oauth_error(code, "Injected.", status)
        return google_error(code or REASON_OF.get(status, "backendError"), "Injected.", status)

    def not_found(self) -> Reply:
        """Refuse an address that does not exist."""
        return google_error("notFound", "Not Found", 404)

    def throttled(self, call: Call, code: str | None) -> Reply:
        """Return 429 rateLimitExceeded, or `code` (quotaExceeded) with its own status."""
        reason = code or "rateLimitExceeded"
        return google_error(reason, "Rate limit exceeded.", STATUS_OF.get(reason, 429))

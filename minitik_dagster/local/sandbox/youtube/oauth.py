"""Google tokens: 1 h access; a refresh token that stays and is not repeated in the answer.

Rules: "Using OAuth 2.0 for Web Server Applications" (refreshing, revoking, PKCE).
"""

import base64
import hashlib
from typing import Any, Final

from minitik_dagster.local.sandbox.http import Call, Reply, json_reply
from minitik_dagster.local.sandbox.world import World
from minitik_dagster.local.sandbox.youtube.envelope import google_error, oauth_error

_AUTH: Final = "https://www.googleapis.com/auth/"
READ_SCOPES: Final = (_AUTH + "youtube.readonly", _AUTH + "youtube", _AUTH + "youtube.force-ssl")
WRITE_SCOPES: Final = (_AUTH + "youtube", _AUTH + "youtube.force-ssl")
UPLOAD_SCOPES: Final = (_AUTH + "youtube.upload", *WRITE_SCOPES)
ANALYTICS_SCOPE: Final = _AUTH + "yt-analytics.readonly"


def authorized(world: World, call: Call, scopes: tuple[str, ...]) -> str | Reply:
    """Return the channel of a live token that has one of `scopes`, else the refusal."""
    token = world.accounts.token("youtube", call.bearer() or call.query.get("access_token"))
    if token is None or token.kind != "access" or not token.live(call.now_ms):
        return google_error(
            "authError",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, "
            "login cookie or other valid authentication credential.",
        )
    if not token.scopes.intersection(scopes):
        return google_error(
            "insufficientPermissions", "Request had insufficient authentication scopes."
        )
    return token.account


class GoogleOAuth:
    """oauth2.googleapis.com: `/token` and `/revoke`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def token(self, call: Call) -> Reply:
        """Exchange a code, or refresh an access token (no rotation)."""
        form = await call.form()
        if not self._world.accounts.client_fits(
            "youtube", form.get("client_id"), form.get("client_secret")
        ):
            return oauth_error("invalid_client", "The OAuth client was not found.", 401)
        grant = form.get("grant_type")
        if grant == "refresh_token":
            return self._refresh(call, form)
        if grant == "authorization_code":
            return self._from_code(call, form)
        return oauth_error("unsupported_grant_type", f"Invalid grant_type: {grant or ''}")

    def _refresh(self, call: Call, form: dict[str, str]) -> Reply:
        if not form.get("refresh_token"):
            return oauth_error("invalid_request", "Missing required parameter: refresh_token")
        token = self._world.accounts.token("youtube", form["refresh_token"])
        if token is None or token.kind != "refresh" or not token.live(call.now_ms):
            return oauth_error("invalid_grant", "Token has been expired or revoked.")
        return json_reply(200, self._access(token.account, token.scopes))

    def _access(self, account: str, scopes: frozenset[str]) -> dict[str, Any]:
        seconds = self._world.limits.number("youtube", "accessTtlSeconds")
        return {
            "access_token": self._world.accounts.issue(
                "youtube", account, "access", scopes, seconds
            ),
            "expires_in": seconds,
            "scope": " ".join(sorted(scopes)),
            "token_type": "Bearer",
        }

    def _from_code(self, call: Call, form: dict[str, str]) -> Reply:
        code = self._world.accounts.token("youtube", form.get("code"))
        if code is None or code.kind != "code" or not code.live(call.now_ms):
            return oauth_error("invalid_grant", "Malformed auth code.")
        if code.extra.get("redirect_uri") != form.get("redirect_uri"):
            return oauth_error("redirect_uri_mismatch", "Bad Request")
        challenge = code.extra.get("code_challenge")
        if challenge:
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if proof != challenge:
                return oauth_error("invalid_grant", "Invalid code verifier.")
        with self._world.store.transaction():
            self._world.accounts.use_up(form["code"])
            answer = self._access(code.account, code.scopes)
            if code.extra.get("access_type") == "offline" and code.extra.get("prompt") == "consent":
                answer["refresh_token"] = self._world.accounts.issue(
                    "youtube", code.account, "refresh", code.scopes, None
                )
        return json_reply(200, answer)

    async def revoke(self, call: Call) -> Reply:
        """Withdraw the grant a token belongs to."""
        text = (await call.form()).get("token") or call.query.get("token")
        token = self._world.accounts.token("youtube", text)
        if token is None or not token.live(call.now_ms):
            return oauth_error("invalid_token", "Token expired or revoked")
        self._world.accounts.revoke("youtube", token.account)
        return json_reply(200, {})

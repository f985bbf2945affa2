"""TikTok tokens: 2 h access, 180 d refresh, strict rotation.

Rules: "Manage User Access Tokens", "Refresh a User Access Token", "Revoke a User Access Token".
"""

from typing import Any

from minitik_dagster.local.sandbox.http import Call, Reply, json_reply
from minitik_dagster.local.sandbox.tiktok.envelope import oauth_error
from minitik_dagster.local.sandbox.world import World


def issue_pair(
    world: World,
    account: str,
    scopes: frozenset[str],
    access_ttl: int | None = None,
    refresh_ttl: int | None = None,
) -> dict[str, Any]:
    """Give out an access and a refresh token, as the token endpoint answers them."""
    access_seconds = access_ttl or world.limits.number("tiktok", "accessTtlSeconds")
    refresh_seconds = refresh_ttl or world.limits.number("tiktok", "refreshTtlSeconds")
    return {
        "access_token": world.accounts.issue("tiktok", account, "access", scopes, access_seconds),
        "expires_in": access_seconds,
        "open_id": account,
        "refresh_expires_in": refresh_seconds,
        "refresh_token": world.accounts.issue(
            "tiktok", account, "refresh", scopes, refresh_seconds
        ),
        "scope": ",".join(sorted(scopes)),
        "token_type": "Bearer",
    }


class TikTokOAuth:
    """`/v2/oauth/token/` and `/v2/oauth/revoke/`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def token(self, call: Call) -> Reply:
        """Exchange a code, or rotate a refresh token: the old one stops working at once."""
        form = await call.form()
        if not form:
            return oauth_error(
                "invalid_request", "Only `application/x-www-form-urlencoded` is supported."
            )
        if not self._world.accounts.client_fits(
            "tiktok", form.get("client_key"), form.get("client_secret")
        ):
            return oauth_error("invalid_client", "Client key or secret is incorrect.", 401)
        grant = form.get("grant_type")
        if grant == "authorization_code":
            return self._from_code(call, form)
        if grant == "refresh_token":
            return self._from_refresh(call, form)
        if not grant:
            return oauth_error("invalid_request", "The parameter grant_type is missing.")
        return oauth_error("unsupported_grant_type", "The grant type is not supported.")

    def _from_code(self, call: Call, form: dict[str, str]) -> Reply:
        code = self._world.accounts.token("tiktok", form.get("code"))
        if code is None or code.kind != "code" or not code.live(call.now_ms):
            return oauth_error("invalid_grant", "Authorization code is expired or used.")
        if code.extra.get("redirect_uri") != form.get("redirect_uri"):
            return oauth_error("invalid_request", "Redirect_uri is not matched with the code's.")
        with self._world.store.transaction():
            self._world.accounts.use_up(form["code"])
            return json_reply(200, issue_pair(self._world, code.account, code.scopes))

    def _from_refresh(self, call: Call, form: dict[str, str]) -> Reply:
        refresh = self._world.accounts.token("tiktok", form.get("refresh_token"))
        if refresh is None or refresh.kind != "refresh" or not refresh.live(call.now_ms):
            return oauth_error("invalid_grant", "Refresh token is invalid or expired.")
        with self._world.store.transaction():
            self._world.accounts.use_up(form["refresh_token"])
            return json_reply(200, issue_pair(self._world, refresh.account, refresh.scopes))

    async def revoke(self, call: Call) -> Reply:
        """Withdraw the grant of a living user access token."""
        form = await call.form()
        if not form:
            return oauth_error(
                "invalid_request", "Only `application/x-www-form-urlencoded` is supported."
            )
        if not self._world.accounts.client_fits(
            "tiktok", form.get("client_key"), form.get("client_secret")
        ):
            return oauth_error("invalid_client", "Client key or secret is incorrect.", 401)
        token = self._world.accounts.token("tiktok", form.get("token"))
        if token is None or token.kind != "access" or not token.live(call.now_ms):
            return oauth_error("invalid_request", "The token is not valid.")
        self._world.withdraw("tiktok", token.account, reason=5)
        return json_reply(200, {})

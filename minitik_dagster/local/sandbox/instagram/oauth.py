"""Instagram tokens: short-lived (1 h), long-lived (60 d), which refresh themselves.

Rules: "Business Login for Instagram", "Access Token" and "Refresh Access Token" references.
"""

from typing import Any

from minitik_dagster.local.sandbox.accounts import Token
from minitik_dagster.local.sandbox.http import Call, Reply, json_reply
from minitik_dagster.local.sandbox.instagram.envelope import graph_error
from minitik_dagster.local.sandbox.world import World


async def parameters(call: Call) -> dict[str, str]:
    """Return query, form and JSON fields together: the vendor's pages show all three."""
    values = dict(call.query)
    if call.method == "POST":
        values.update(await call.form())
        if call.headers.get("content-type", "").startswith("application/json"):
            values.update({k: _text(v) for k, v in (await call.json() or {}).items()})
    return values


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def authorized(world: World, call: Call, values: dict[str, str], scope: str) -> Token | Reply:
    """Return the live token of a request (Bearer or `access_token`), else the refusal."""
    text = call.bearer() or values.get("access_token")
    token = world.accounts.token("instagram", text)
    if token is None or token.kind not in {"access", "short"}:
        return graph_error(190, None, "Invalid OAuth access token - Cannot parse access token")
    if token.revoked:
        return graph_error(
            190, 458, "Error validating access token: The user has not authorized application."
        )
    if not token.live(call.now_ms):
        return graph_error(
            190, 463, "Error validating access token: Session has expired on the given time."
        )
    if scope not in token.scopes:
        return graph_error(10, None, "(#10) Application does not have permission for this action")
    return token


def _api_error(message: str) -> Reply:
    return json_reply(400, {"error_type": "OAuthException", "code": 400, "error_message": message})


class InstagramOAuth:
    """api.instagram.com's code exchange and graph.instagram.com's two token calls."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def exchange_code(self, call: Call) -> Reply:
        """Turn a single-use code (form, never JSON) into a short-lived token."""
        form = await call.form()
        if not form:
            return _api_error("Missing required field client_id")
        if not self._world.accounts.client_fits(
            "instagram", form.get("client_id"), form.get("client_secret")
        ):
            return _api_error("Error validating client secret.")
        if form.get("grant_type") != "authorization_code":
            return _api_error("Invalid grant_type")
        code = self._world.accounts.token("instagram", form.get("code"))
        if code is None or code.kind != "code" or not code.live(call.now_ms):
            return _api_error("This authorization code has been used or is invalid")
        if code.extra.get("redirect_uri") != form.get("redirect_uri"):
            return _api_error("Redirect URI is not matched with the one of the code")
        limits = self._world.limits
        row = self._world.accounts.find("instagram", code.account)
        with self._world.store.transaction():
            self._world.accounts.use_up(form["code"])
            token = self._world.accounts.issue(
                "instagram",
                code.account,
                "short",
                code.scopes,
                limits.number("instagram", "shortTtlSeconds"),
            )
        answer = {
            "access_token": token,
            "user_id": int(row["app_scoped_id"]) if row else 0,
            "permissions": ",".join(sorted(code.scopes)),
        }
        flat = limits.text("instagram", "tokenAnswer") == "flat"
        return json_reply(200, answer if flat else {"data": [answer]})

    def _long_lived(self, token: Token) -> Reply:
        seconds = self._world.limits.number("instagram", "longTtlSeconds")
        text = self._world.accounts.issue(
            "instagram", token.account, "access", token.scopes, seconds
        )
        return json_reply(
            200, {"access_token": text, "token_type": "bearer", "expires_in": seconds}
        )

    async def exchange_short(self, call: Call) -> Reply:
        """Turn a short-lived token into a long-lived one (60 days); needs the app's secret."""
        if call.query.get("grant_type") != "ig_exchange_token":
            return graph_error(100, None, "Invalid grant_type")
        wanted = self._world.limits.get("instagram", "clientSecret")
        secret = call.query.get("client_secret")
        if not secret or (wanted is not None and secret != wanted):
            return graph_error(1, None, "Error validating client secret.")
        token = authorized(self._world, call, call.query, "instagram_business_basic")
        if isinstance(token, Reply):
            return token
        if token.kind != "short":
            return graph_error(452, None, "Session key invalid. This token is long-lived already.")
        return self._long_lived(token)

    async def refresh(self, call: Call) -> Reply:
        """Renew a long-lived token that is at least 24 hours old and has not expired."""
        if call.query.get("grant_type") != "ig_refresh_token":
            return graph_error(100, None, "Invalid grant_type")
        token = authorized(self._world, call, call.query, "instagram_business_basic")
        if isinstance(token, Reply):
            return token
        age_ms = call.now_ms - token.issued_at
        young = age_ms < 1000 * self._world.limits.number("instagram", "refreshMinAgeSeconds")
        if token.kind != "access" or young:
            return graph_error(
                100, None, "The access token must be long-lived and at least 24 hours old."
            )
        return self._long_lived(token)

"""The platforms' consent pages: Allow sends a single-use code to the redirect_uri, Deny an error."""

import html
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from minitik_dagster.local.sandbox.accounts import DEFAULT_SCOPES
from minitik_dagster.local.sandbox.http import Call, Reply
from minitik_dagster.local.sandbox.world import World

_CODE_LIFETIME_SECONDS: Final = {"tiktok": 3_600, "instagram": 3_600, "youtube": 600}
_NAMES: Final = {"tiktok": "TikTok", "instagram": "Instagram", "youtube": "YouTube"}
_KEPT: Final = ("code_challenge", "code_challenge_method", "access_type", "prompt")
_PAGE: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{name} sandbox: consent</title><style>
body{{font:16px/1.5 system-ui,sans-serif;background:#f3f4f6;margin:0;display:grid;
place-items:center;min-height:100vh;color:#111827}}
main{{background:#fff;border-radius:16px;padding:28px 32px;width:22rem;
box-shadow:0 8px 30px rgba(0,0,0,.08)}}h1{{font-size:1.2rem;margin:0 0 4px}}p{{color:#6b7280}}
li{{font-size:.85rem;word-break:break-all}}select,button{{font:inherit;padding:10px;width:100%;
border-radius:10px;border:1px solid #d1d5db;margin-top:10px;box-sizing:border-box}}
button.allow{{background:#111827;color:#fff;border:0}}</style></head><body><main>
<h1>Connect to {name} (sandbox)</h1><p>The app asks for:</p><ul>{scopes}</ul>
<form method="post"><label>Account<select name="account">{accounts}
<option value="">a new account</option></select></label>
<button class="allow" name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button></form></main></body></html>"""


def _page(status: int, text: str) -> Reply:
    return Reply(status, text.encode(), (), "text/html; charset=utf-8")


class Consent:
    """One platform's authorize page."""

    def __init__(self, world: World, platform: str) -> None:
        self._world = world
        self._platform = platform

    def _problem(self, query: dict[str, str]) -> str | None:
        client = query.get("client_key" if self._platform == "tiktok" else "client_id")
        wanted = self._world.limits.get(self._platform, "clientId")
        if not client or (wanted is not None and client != wanted):
            return "invalid_client: the app is unknown"
        if query.get("response_type") != "code":
            return "unsupported_response_type: response_type must be code"
        target = urlsplit(query.get("redirect_uri", ""))
        if target.scheme not in {"http", "https"} or not target.netloc or target.fragment:
            return "invalid_request: redirect_uri must be an absolute URL"
        if not query.get("scope"):
            return "invalid_scope: scope is missing"
        if self._platform == "tiktok" and not query.get("state"):
            return "invalid_request: state is missing"
        return None

    def _scopes(self, query: dict[str, str]) -> tuple[str, ...]:
        return tuple(query.get("scope", "").replace(",", " ").split())

    async def page(self, call: Call) -> Reply:
        """Show who asks for what, with Allow and Deny."""
        if problem := self._problem(call.query):
            return _page(400, html.escape(problem))
        accounts = "".join(
            f'<option value="{html.escape(row["id"])}">{html.escape(row["username"])}</option>'
            for row in self._world.accounts.listed()
            if row["platform"] == self._platform
        )
        scopes = "".join(f"<li>{html.escape(s)}</li>" for s in self._scopes(call.query))
        return _page(
            200, _PAGE.format(name=_NAMES[self._platform], scopes=scopes, accounts=accounts)
        )

    async def decide(self, call: Call) -> Reply:
        """Send the browser back with a code (Allow) or `access_denied` (anything else)."""
        if problem := self._problem(call.query):
            return _page(400, html.escape(problem))
        form = await call.form()
        answer = {"state": call.query["state"]} if call.query.get("state") else {}
        if form.get("decision") == "allow":
            answer["code"] = self._code(call.query, form.get("account") or None)
            if self._platform == "tiktok":
                answer["scopes"] = ",".join(self._scopes(call.query))
        else:
            answer["error"] = "access_denied"
        return Reply(302, headers=(("Location", self._target(call.query, answer)),))

    def _code(self, query: dict[str, str], account: str | None) -> str:
        known = account and self._world.accounts.find(self._platform, account)
        identity = account if account and known else self._world.accounts.ensure(self._platform)
        scopes = self._scopes(query) or DEFAULT_SCOPES[self._platform]
        extra: dict[str, str] = {name: query[name] for name in _KEPT if name in query}
        return self._world.accounts.issue(
            self._platform,
            identity,
            "code",
            scopes,
            _CODE_LIFETIME_SECONDS[self._platform],
            extra | {"redirect_uri": query["redirect_uri"]},
        )

    def _target(self, query: dict[str, str], answer: dict[str, str]) -> str:
        parts = urlsplit(query["redirect_uri"])
        merged = urlencode([*parse_qsl(parts.query), *answer.items()])
        # Instagram appends "#_" to its redirects; clients must strip it from the code.
        fragment = "_" if self._platform == "instagram" else ""
        return urlunsplit((parts.scheme, parts.netloc, parts.path, merged, fragment))

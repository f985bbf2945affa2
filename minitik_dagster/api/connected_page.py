"""The page at the end of a connection in a browser: plain HTML, no script, nothing from elsewhere."""

import re
from html import escape
from typing import Final

from fastapi.responses import HTMLResponse

from minitik_dagster.api.html import html_page, page_headers
from minitik_dagster.db.types import Platform
from minitik_dagster.platforms.oauth_refusals import NAMES, REFUSALS

_STYLE: Final = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:28rem;margin:15vh auto;padding:0 1rem;"
    "color:#1b1b1f;background:#fafafa}h1{font-size:1.4rem}button{font:inherit;padding:.5rem 1.2rem;"
    "border:0;border-radius:.4rem;background:#2447c8;color:#fff;cursor:pointer;margin-top:1rem}"
)
HEADERS: Final = page_headers(_STYLE)
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_COUNT: Final = re.compile(r"[1-9][0-9]{0,5}")
_OTHERS: Final = {
    "limit": (
        "your tier has no place for another account",
        "disconnect one, or change to a larger tier",
    ),
    "unavailable": ("{platform} did not answer as it should", "connect again in a while"),
}


def connected_page(*, provider: str, refused: str, account_id: str, held: str) -> HTMLResponse:
    """Say that an account is connected, or why not. What is not one of our own words is left out."""
    platform = next(
        (name for p, name in NAMES.items() if p.value.lower() == provider), "The platform"
    )
    if refused:
        return _page("The account was not connected", _why(refused, platform))
    if provider not in {p.value.lower() for p in Platform}:
        return _page("Nothing to show", "<p>Begin with POST /api/accounts/initiate.</p>")
    body = "<p>You may close this window.</p>"
    if _COUNT.fullmatch(held) and _ID.fullmatch(account_id):
        body = (
            f"<p>{held} posts waited for this account.</p>"
            f'<form method="post" action="/api/accounts/{account_id}/release">'
            "<button>Release them</button></form>"
        )
    return _page(f"{platform} is connected", body)


def _why(code: str, platform: str) -> str:
    if code in REFUSALS:
        reason, fix = REFUSALS[code].reason, REFUSALS[code].fix
    else:
        reason, fix = _OTHERS.get(code, _OTHERS["unavailable"])
    told = (escape(part.format(platform=platform)) for part in (reason, fix))
    return "".join(f"<p>{part[:1].upper()}{part[1:]}.</p>" for part in told)


def _page(title: str, body: str) -> HTMLResponse:
    return html_page(title, body, style=_STYLE)

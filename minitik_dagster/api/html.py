"""How our few pages are made: plain HTML, no script, nothing from elsewhere, kept by no cache."""

import hashlib
from base64 import b64encode
from html import escape

from fastapi.responses import HTMLResponse


def page_headers(style: str) -> dict[str, str]:
    """Return what is sent with a page of this style, and with a redirect to or from it.

    Allowed are this very style and forms to ourselves, nothing else.
    """
    style_hash = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{style_hash}'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        ),
        # The address may hold a token, a code or a state, so no page elsewhere may learn it.
        # `no-referrer` would also take the Origin from our own forms (Fetch, "append a request
        # Origin header").
        "Referrer-Policy": "strict-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def html_page(title: str, body: str, *, style: str, status: int = 200) -> HTMLResponse:
    """Return a page; `title` is escaped, `body` and `style` are our own markup."""
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>",
        status,
        headers=page_headers(style),
    )

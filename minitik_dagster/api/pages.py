"""The few pages that signing in needs: plain HTML, no script, nothing from elsewhere."""

from html import escape
from typing import Final

from fastapi.responses import HTMLResponse

from minitik_dagster.api.html import html_page, page_headers

_STYLE: Final = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:26rem;margin:15vh auto;padding:0 1rem;"
    "color:#1b1b1f;background:#fafafa}h1{font-size:1.4rem}label,input,button{display:block;"
    "font:inherit}input[type=email]{width:100%;box-sizing:border-box;padding:.5rem;margin:.3rem 0 1rem}"
    "button{padding:.5rem 1.2rem;border:0;border-radius:.4rem;background:#2447c8;color:#fff;"
    "cursor:pointer;margin-top:1rem}label.check input{display:inline;margin-right:.5rem}"
)
HEADERS: Final = page_headers(_STYLE)


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    return html_page(title, body, style=_STYLE, status=status)


def ask_address() -> HTMLResponse:
    """The sign-in page: an address, a button."""
    return _page(
        "Sign in to minitik",
        '<form method="post" action="/api/auth/magic-link"><label for="email">E-mail address</label>'
        '<input id="email" name="email" type="email" required autocomplete="email">'
        "<button>Send me a link</button></form>",
    )


def link_is_coming() -> HTMLResponse:
    """What everybody reads who asked for a link."""
    return _page(
        "Look into your mailbox",
        "<p>If this address may sign in, a link is on its way. It lasts 15 minutes and works once.</p>",
        202,
    )


def press_button(token: str) -> HTMLResponse:
    """What the link leads to: opening it changes nothing, the button does."""
    return _page(
        "Sign in to minitik",
        '<form method="post" action="/api/auth/verify">'
        f'<input type="hidden" name="token" value="{escape(token, quote=True)}">'
        "<button>Sign in</button></form>",
    )


def link_unusable() -> HTMLResponse:
    """The answer to a token that is unknown, used or expired."""
    return _page(
        "This link does not work any more",
        '<p>It was used or has expired. <a href="/signin">Ask for a new one</a>.</p>',
        400,
    )


def signed_in_as(address: str) -> HTMLResponse:
    """Who is signed in, and the way out."""
    return _page(
        "You are signed in",
        f"<p>as <strong>{escape(address)}</strong></p>"
        '<form method="post" action="/api/auth/signout"><label class="check">'
        '<input type="checkbox" name="everywhere" value="true">everywhere, on all devices</label>'
        "<button>Sign out</button></form>",
    )

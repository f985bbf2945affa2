"""A person at a platform's consent page: reads the form, presses a button, is sent back."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

import httpx


class _Form(HTMLParser):
    """The page's one form: its choices of account, its buttons, and the scopes it lists."""

    def __init__(self) -> None:
        super().__init__()
        self.method = ""
        self.select = ""
        self.accounts: list[str] = []
        self.buttons: dict[str, str] = {}
        self.scopes: list[str] = []
        self._in_item = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.method = values.get("method", "get")
        elif tag == "select":
            self.select = values["name"]
        elif tag == "option":
            self.accounts.append(values["value"])
        elif tag == "button":
            self.buttons[values["value"]] = values["name"]
        self._in_item = tag == "li"

    def handle_data(self, data: str) -> None:
        if self._in_item:
            self.scopes.append(data)


@dataclass
class Return:
    """Where the platform sent the browser."""

    url: str
    query: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}

    @property
    def path(self) -> str:
        """Path and query, as a browser requests them: without the fragment."""
        parts = urlsplit(self.url)
        return f"{parts.path}?{parts.query}"

    def altered(self, **query: str) -> str:
        """Path with some of the query replaced."""
        return f"{urlsplit(self.url).path}?{urlencode(self.query | query)}"


def decide(authorization_url: str, *, account: str = "", decision: str = "allow") -> Return:
    """Open the page, choose an account ("" = a new one) and press a button."""
    with httpx.Client(trust_env=False, timeout=20) as browser:
        page = browser.get(authorization_url)
        assert page.status_code == 200, page.text
        form = _Form()
        form.feed(page.text)
        assert form.method == "post"
        assert account in form.accounts
        answer = browser.post(
            authorization_url, data={form.select: account, form.buttons[decision]: decision}
        )
    assert answer.status_code == 302, answer.text
    return Return(answer.headers["location"])


def with_query(url: str, **changes: str | None) -> str:
    """Change a consent page's URL: a person who grants less, an app set up otherwise."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | {k: v for k, v in changes.items() if v is not None}
    for name, value in changes.items():
        if value is None:
            query.pop(name, None)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))

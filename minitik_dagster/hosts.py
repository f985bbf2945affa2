"""Host names: which of them a server of ours answers for.

A page on the web can give its own name an address of ours (DNS rebinding); a browser then takes that page
and our server for one. What such a request cannot bring is our own name in `Host`.
"""

import re
from typing import Final
from urllib.parse import urlsplit

LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[?[0-9a-f:]*:[0-9a-f:.]*\]?")


def host_name(header: str) -> str | None:
    """Return the name in a Host header or an URL's authority, in lower case, without its port.

    None where there is none: the header is empty, or no name and port at all.
    """
    if not header or any(mark in header for mark in "/?#\\@ "):
        return None
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname


def read_host_names(text: str) -> frozenset[str]:
    """Read names separated by commas; raises ValueError for what is not a plain name or address."""
    names = [part.strip().lower() for part in text.split(",") if part.strip()]
    if not all(_NAME.fullmatch(name) for name in names):
        raise ValueError(
            "MINITIK_ALLOWED_HOSTS must hold names without scheme and port, separated by commas: "
            "dagster.example.com, 10.0.0.5"
        )
    return frozenset(name.strip("[]") for name in names)


def allowed_hosts(own_url: str, more: str = "") -> frozenset[str]:
    """Return the names a server answers for: loopback, its own URL's, and those in `more`."""
    own = urlsplit(own_url).hostname
    return LOOPBACK_HOSTS | read_host_names(more) | ({own.lower()} if own else frozenset())

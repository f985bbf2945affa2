"""The page at `/`: what is public, as a phone would show it."""

from importlib.resources import files

from minitik_dagster.local.sandbox.http import Reply


def page() -> Reply:
    """Return the feed page; it fetches `/_sandbox/posts` itself and sets text, never HTML."""
    text = files(__package__).joinpath("feed.html").read_bytes()
    return Reply(200, text, (("Cache-Control", "no-store"),), "text/html; charset=utf-8")

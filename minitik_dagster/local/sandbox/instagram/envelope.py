"""Instagram's errors: `{error{message,type,code,error_subcode,…,fbtrace_id}}`.

Rules: "Error Codes - Instagram Platform" and "Handle Errors - Graph API".
"""

import secrets
from typing import Any, Final

from minitik_dagster.local.sandbox.http import Reply, json_reply

MESSAGES: Final = {
    (-1, 2207001): "Instagram server error. Try again.",
    (-1, 2207032): "Create media fail, please try to re-create media.",
    (-1, 2207053): "Unknown upload error.",
    (-2, 2207003): "It takes too long to download the media.",
    (-2, 2207020): "The media you are trying to access has expired.",
    (1, 2207057): "Thumbnail offset is out of range.",
    (4, 2207051): "We restrict certain activity to protect our community.",
    (9, 2207042): "You reached the maximum number of posts that is allowed to be published.",
    (24, 2207006): "The media with the given id cannot be found.",
    (24, 2207008): "The media builder with the given creation id has expired or does not exist.",
    (25, 2207050): "The Instagram account is restricted.",
    (100, 2207023): "The media type is unknown.",
    (100, 2207040): "Cannot use more tags than allowed.",
    (352, 2207026): "The video format is not supported.",
    (9004, 2207052): "The media could not be fetched from this URI.",
    (9007, 2207027): "The media is not ready for publishing, please wait for a moment.",
    (36000, 2207004): "The image is too large to download.",
    (36001, 2207005): "The image format is not supported.",
    (36004, 2207010): "The caption was too long.",
}
_TRANSIENT: Final = frozenset({1, 2, -1, -2, 4, 17, 341})


def graph_error(
    code: int, subcode: int | None = None, message: str | None = None, status: int = 400
) -> Reply:
    """Refuse in the Graph API's envelope."""
    text = message or MESSAGES.get((code, subcode or 0), "An unknown error has occurred.")
    value: dict[str, Any] = {
        "message": text,
        "type": "OAuthException",
        "code": code,
        "is_transient": code in _TRANSIENT,
        "fbtrace_id": "A" + secrets.token_urlsafe(16),
    }
    if subcode is not None:
        value["error_subcode"] = subcode
        value["error_user_title"] = "Instagram"
        value["error_user_msg"] = text
    return json_reply(status, {"error": value})


def parse_code(code: str | None, default: str) -> tuple[int, int | None]:
    """Read `"9/2207042"` or `"4"`; anything else means `default`."""
    head, _, tail = (code or default).partition("/")
    try:
        return int(head), int(tail) if tail else None
    except ValueError:
        return 1, None

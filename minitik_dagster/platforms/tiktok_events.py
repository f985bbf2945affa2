"""What TikTok tells of its own accord: whether a delivery is signed by TikTok, and what it says.

Pages of developers.tiktok.com: "TikTok Webhooks, Overview" (answer 200 at once; an event is delivered at
least once and retried for up to 72 hours), "Check the signature" (the header `TikTok-Signature`),
"Webhook Events" (the body's keys, `authorization.removed` and its reasons), "Get Post Status" (the
content posting events, which name the `publish_id`).
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import SecretStr
from pydantic_core import from_json

from minitik_dagster.errors import FieldProblem, InvalidInputError, SignatureRefusedError

SIGNATURE_HEADER: Final = "TikTok-Signature"
AUTHORIZATION_REMOVED: Final = "authorization.removed"
POSTING: Final = "post.publish."
"""How the names of the content posting events begin."""
# The examples have some 300 bytes.
MAX_EVENT_BYTES: Final = 65_536
# Retries go on for 72 hours, and no page says whether each is signed anew: the first signature must do
# for the last retry. That nothing comes true twice is the digest's work, not this bound's.
SIGNED_WITHIN: Final = timedelta(hours=73)
SIGNED_AHEAD: Final = timedelta(minutes=5)
REMOVAL_REASONS: Final[Mapping[int, str]] = {
    1: "the creator removed the app in TikTok",
    2: "the TikTok account was deleted",
    3: "the age on the creator's TikTok account was changed",
    4: "the TikTok account was banned",
    5: "our app gave its access up at TikTok",
}
_UNKNOWN_REASON: Final = "TikTok says that our access was withdrawn, and not why"
_SIGNATURE: Final = re.compile(r"[0-9a-fA-F]{64}")
_INSTANT: Final = re.compile(r"[0-9]{1,11}")
_MOST_PARTS: Final = 8


@dataclass(frozen=True)
class TikTokEvent:
    """A signed event, as TikTok sent it.

    `digest` is the SHA-256 of the body and the event's identity. `happened_at` is `create_time`, whole
    seconds on TikTok's clock. `content` is the object that TikTok sends as a text within the JSON, empty
    where that text is none. `payload` is the whole body as JSON text that PostgreSQL can keep.
    """

    digest: str
    client_key: str
    name: str
    happened_at: datetime
    open_id: str
    content: Mapping[str, Any]
    payload: str

    @property
    def publish_id(self) -> str | None:
        """The handle of the post that a content posting event is about."""
        found = self.content.get("publish_id")
        return found if isinstance(found, str) and found else None

    @property
    def removal_reason(self) -> str:
        """Why access was withdrawn, in plain words."""
        code = self.content.get("reason")
        return REMOVAL_REASONS.get(code if type(code) is int else 0, _UNKNOWN_REASON)


def signed_at(secret: SecretStr, header: str | None, body: bytes) -> datetime:
    """Return when a delivery was signed, once its signature has been found to be of our secret.

    Rule ("Check the signature"): the header is `t=<epoch seconds>,s=<hex>`, and `s` the HMAC-SHA256 of
    `t`, a full stop and the raw body, keyed with the client secret. Raises SignatureRefusedError.
    """
    if not header:
        raise SignatureRefusedError(f"the header {SIGNATURE_HEADER} is missing")
    parts = [part.strip().partition("=") for part in header.split(",", _MOST_PARTS)]
    instants = [value for name, _, value in parts if name == "t"]
    signatures = [value for name, _, value in parts if name == "s" and _SIGNATURE.fullmatch(value)]
    if len(instants) != 1 or not _INSTANT.fullmatch(instants[0]) or not signatures:
        raise SignatureRefusedError(
            f"{SIGNATURE_HEADER} is not t=<epoch seconds>,s=<64 hex digits>"
        )
    signed = instants[0].encode() + b"." + body
    wanted = hmac.new(secret.get_secret_value().encode(), signed, hashlib.sha256).hexdigest()
    # Each is compared, also after one that fits: the time tells nothing.
    fits = [hmac.compare_digest(given.lower(), wanted) for given in signatures]
    if not any(fits):
        raise SignatureRefusedError(f"{SIGNATURE_HEADER} is not of this body and our client secret")
    return datetime.fromtimestamp(int(instants[0]), UTC)


def require_recent(at: datetime, now: datetime) -> None:
    """Refuse a signature from before TikTok's last retry, or from the future (SignatureRefusedError)."""
    if at < now - SIGNED_WITHIN:
        hours = int(SIGNED_WITHIN.total_seconds() // 3600)
        raise SignatureRefusedError(f"the event was signed more than {hours} hours ago")
    if at > now + SIGNED_AHEAD:
        minutes = int(SIGNED_AHEAD.total_seconds() // 60)
        raise SignatureRefusedError(f"the event is signed more than {minutes} minutes ahead of now")


def read_event(body: bytes) -> TikTokEvent:
    """Read a delivery's body ("Webhook Events", request body); InvalidInputError names the bad field."""
    try:
        payload = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise _invalid("body", "is not JSON text") from None
    if not isinstance(payload, dict):
        raise _invalid("body", "is not a JSON object")
    try:
        kept = json.dumps(payload, allow_nan=False)
    except ValueError:
        raise _invalid("body", "holds a number that is too large") from None
    if "\\u0000" in kept:
        raise _invalid("body", "holds a NUL character")
    created = payload.get("create_time")
    if type(created) is not int or not 0 <= created < 10**11:
        raise _invalid("create_time", "is not a time in epoch seconds")
    return TikTokEvent(
        digest=hashlib.sha256(body).hexdigest(),
        client_key=_text(payload, "client_key"),
        name=_text(payload, "event"),
        happened_at=datetime.fromtimestamp(created, UTC),
        open_id=_text(payload, "user_openid"),
        content=_content(payload.get("content")),
        payload=kept,
    )


def _text(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= 200:
        raise _invalid(name, "is not a text of 1 to 200 characters")
    return value


def _content(text: object) -> Mapping[str, Any]:
    """An event whose content we cannot read is kept all the same: a retry would bring the same."""
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _invalid(field: str, message: str) -> InvalidInputError:
    return InvalidInputError(FieldProblem(field, message, "send the event as TikTok does"))

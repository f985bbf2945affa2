"""One web push message: encrypted for its browser and signed as ours.

"Message Encryption for Web Push" (RFC 8291) in the coding of RFC 8188, by http-ece; "Voluntary
Application Server Identification" (RFC 8292), by py-vapid: the libraries under pywebpush, whose own
sending would go past the outbound module.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02

from minitik_dagster.notifications.subscriptions import decoded
from minitik_dagster.settings import Settings

# A service need not take more than 4,096 bytes (RFC 8030, section 7.2), 86 of which are the coding's
# header, 16 its tag and 1 its padding.
MOST_BYTES: Final = 3_993
# RFC 8292 allows 24 hours.
_SIGNED_FOR: Final = timedelta(hours=12)
_SHORTENED: Final = "body"


@dataclass(frozen=True)
class PushIdentity:
    """Who we are to a push service: VAPID_PRIVATE_KEY and VAPID_SUBJECT."""

    subject: str
    private_key: str = field(repr=False)

    @classmethod
    def of(cls, settings: Settings) -> "PushIdentity | None":
        """Return ours; None where web push is not configured."""
        key = settings.vapid_private_key
        if key is None or not settings.vapid_public_key or not settings.vapid_subject:
            return None
        return cls(settings.vapid_subject, key.get_secret_value())

    def headers(self, endpoint: str, now: datetime) -> dict[str, str]:
        """Return the Authorization of one message; `now` is the attempt's instant."""
        parts = urlsplit(endpoint)
        claims = {
            "aud": f"{parts.scheme}://{parts.netloc}",
            "exp": int((now + _SIGNED_FOR).timestamp()),
            "sub": self.subject,
        }
        signed: dict[str, str] = Vapid02.from_raw(self.private_key.encode()).sign(claims)
        return signed


def new_keys() -> tuple[str, str]:
    """Return a new VAPID pair, public and private, as VAPID_PUBLIC_KEY and VAPID_PRIVATE_KEY hold them."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_numbers().private_value.to_bytes(32, "big")
    return _public_text(key), _text(private)


def public_key_of(private_key: str) -> str:
    """Return the public key that belongs to a private one; ValueError for none."""
    number = int.from_bytes(decoded(private_key), "big")
    return _public_text(ec.derive_private_key(number, ec.SECP256R1()))


def _public_text(key: ec.EllipticCurvePrivateKey) -> str:
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return _text(point)


def _text(plain: bytes) -> str:
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


def encrypted(message: Mapping[str, Any], *, p256dh: str, auth: str) -> bytes:
    """Return a message's body for one browser; ValueError for keys that are none.

    A text that would not fit is shortened.
    """
    plain = _written(message)
    if len(plain) > MOST_BYTES:
        shorter = str(message[_SHORTENED]).encode()
        kept = shorter[: max(0, len(shorter) - (len(plain) - MOST_BYTES) - 3)]
        plain = _written({**message, _SHORTENED: kept.decode("utf-8", "ignore") + "…"})
    try:
        body: bytes = http_ece.encrypt(
            plain,
            private_key=ec.generate_private_key(ec.SECP256R1()),
            dh=decoded(p256dh),
            auth_secret=decoded(auth),
            version="aes128gcm",
        )
    except http_ece.ECEException as error:
        raise ValueError(str(error)) from None
    return body


def _written(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()

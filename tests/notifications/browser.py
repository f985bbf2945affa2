"""A browser's half of web push, by the RFCs' own words: independent of the libraries that we send with."""

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from minitik_dagster.notifications.web_push import new_keys
from tests.notifications.receiver import Received

PUBLIC_KEY, PRIVATE_KEY = new_keys()
SUBJECT = "mailto:operator@example.test"


def b64(plain: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


def plain_of(text: str) -> bytes:
    """The bytes of a base64url text."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Browser:
    """A subscription's keys, and what it reads with them."""

    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    auth: bytes = b"0123456789abcdef"

    @property
    def point(self) -> bytes:
        """The public key as a subscription gives it."""
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def subscription(self, endpoint: str) -> dict[str, Any]:
        """What `PushSubscription.toJSON()` writes."""
        keys = {"p256dh": b64(self.point), "auth": b64(self.auth)}
        return {"endpoint": endpoint, "expirationTime": None, "keys": keys}

    def read(self, body: bytes) -> dict[str, Any]:
        """Decrypt a body: RFC 8188 sections 2.1 to 2.3, RFC 8291 section 3.4."""
        assert len(body) <= 4096, "a push service need not take more"
        salt, record_size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        server, sealed = body[21 : 21 + length], body[21 + length :]
        assert len(sealed) <= record_size
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), server)
        info = b"WebPush: info\x00" + self.point + server
        secret = _hkdf(self.auth, self.key.exchange(ec.ECDH(), public), info, 32)
        key = _hkdf(salt, secret, b"Content-Encoding: aes128gcm\x00", 16)
        nonce = _hkdf(salt, secret, b"Content-Encoding: nonce\x00", 12)
        padded = AESGCM(key).decrypt(nonce, sealed, None).rstrip(b"\x00")
        assert padded[-1:] == b"\x02", "the last record's delimiter"
        message: dict[str, Any] = json.loads(padded[:-1])
        return message


def _hkdf(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)


def assert_ours(request: Received, audience: str) -> None:
    """The request is signed by VAPID_PRIVATE_KEY for this service: RFC 8292, RFC 7515."""
    scheme, _, given = request.headers["authorization"].partition(" ")
    assert scheme == "vapid"
    parts = dict(part.strip().split("=", 1) for part in given.split(","))
    assert parts["k"] == PUBLIC_KEY
    header, claims, signature = parts["t"].split(".")
    assert json.loads(plain_of(header)) == {"typ": "JWT", "alg": "ES256"}
    told = json.loads(plain_of(claims))
    assert set(told) == {"aud", "exp", "sub"}
    assert (told["aud"], told["sub"]) == (audience, SUBJECT)
    left = datetime.fromtimestamp(told["exp"], UTC) - datetime.now(UTC)
    assert timedelta(hours=1) < left < timedelta(hours=24), "RFC 8292: no more than 24 hours"
    raw = plain_of(signature)
    assert len(raw) == 64
    numbers = (int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), plain_of(PUBLIC_KEY)).verify(
        encode_dss_signature(*numbers), f"{header}.{claims}".encode(), ec.ECDSA(hashes.SHA256())
    )

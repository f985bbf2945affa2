"""Tokens at rest: AES-256-GCM in the adopted format (contracts.md, Tokens and secrets).

`base64(iv12):base64(tag16):base64(ciphertext)`, no associated data. The format carries no key id, so
opening tries the present key first and then the previous ones, in order.
"""

import base64
import binascii
import os
from collections.abc import Sequence
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from minitik_dagster.errors import ConfigurationError, MinitikError
from minitik_dagster.settings import ENCRYPTION_KEY_MESSAGE, Settings

_IV_BYTES, _TAG_BYTES, _KEY_BYTES = 12, 16, 32


class VaultError(MinitikError):
    """A stored value cannot be opened with any configured key; shows nothing of it."""


class Vault:
    """Seals with the first key, opens with any; shows none of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != _KEY_BYTES for key in keys):
            raise ConfigurationError([ENCRYPTION_KEY_MESSAGE])
        self._ciphers = tuple(AESGCM(key) for key in keys)

    def __repr__(self) -> str:
        return f"Vault({len(self._ciphers)} keys)"

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make the vault of ENCRYPTION_KEY and ENCRYPTION_KEY_PREVIOUS."""
        return cls(settings.encryption_keys())

    def seal(self, text: str) -> str:
        """Encrypt with the present key and a fresh IV."""
        iv = os.urandom(_IV_BYTES)
        both = self._ciphers[0].encrypt(iv, text.encode(), None)
        parts = (iv, both[-_TAG_BYTES:], both[:-_TAG_BYTES])
        return ":".join(base64.b64encode(part).decode() for part in parts)

    def open(self, stored: str) -> str:
        """Decrypt; VaultError when the format is wrong or no key fits."""
        iv, tag, ciphertext = _parts(stored)
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(iv, ciphertext + tag, None).decode()
            except (InvalidTag, UnicodeDecodeError):
                continue
        raise VaultError("a stored secret does not open with ENCRYPTION_KEY or a previous key")

    def is_current(self, stored: str) -> bool:
        """Whether the present key opens it; VaultError when the format is wrong."""
        iv, tag, ciphertext = _parts(stored)
        try:
            self._ciphers[0].decrypt(iv, ciphertext + tag, None)
        except InvalidTag:
            return False
        return True


def _parts(stored: str) -> tuple[bytes, bytes, bytes]:
    texts = stored.split(":")
    try:
        iv, tag, ciphertext = (base64.b64decode(text, validate=True) for text in texts)
    except (ValueError, binascii.Error):
        raise VaultError("a stored secret is not in the form iv:tag:ciphertext") from None
    if len(iv) != _IV_BYTES or len(tag) != _TAG_BYTES:
        raise VaultError("a stored secret has an IV or tag of the wrong length")
    return iv, tag, ciphertext

"""SHA-256 of what arrives, kept while an upload is under way; no media byte is stored."""

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hashlib import _Hash

GRANULARITY_BYTES: Final = 262_144


class Hashes:
    """The running hash of each unfinished upload, in memory.

    OpenSSL's state cannot be written to disk: an upload that was under way when the sandbox
    stopped is lost, and its platform says so (TikTok: FAILED, YouTube: session 404).
    """

    def __init__(self) -> None:
        self._hashes: dict[str, _Hash] = {}

    def resume(self, handle: str, received: int) -> "_Hash | None":
        """Return a copy of the hash over the first `received` bytes; None if it was lost."""
        if received == 0:
            return hashlib.sha256()
        known = self._hashes.get(handle)
        return known.copy() if known is not None else None

    def keep(self, handle: str, digest: "_Hash") -> None:
        """Remember how far an upload has come."""
        self._hashes[handle] = digest

    def forget(self, handle: str) -> None:
        """Drop a finished upload's hash."""
        self._hashes.pop(handle, None)

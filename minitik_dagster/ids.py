"""Ids of new rows: cuid-like text, as the adopted schema's own ids are."""

import secrets
import time

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def _base36(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, rest = divmod(number, 36)
        digits = _ALPHABET[rest] + digits
    return digits


def new_id() -> str:
    """Return a new id: `c`, 8 characters of time, 16 random ones; rising with time, 25 long.

    The old system's ORM makes ids of this shape (cuid); readers only rely on them being text.
    """
    return "c" + _base36(time.time_ns() // 1_000_000, 8) + _base36(secrets.randbits(82), 16)

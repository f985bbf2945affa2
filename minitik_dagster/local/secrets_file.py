"""`secrets.env`: the keys `minitik up` makes once per data folder and keeps (mode 0600)."""

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

DATABASE_PASSWORD = "MINITIK_LOCAL_DATABASE_PASSWORD"  # noqa: S105 - the name of a variable

# Web push's three variables belong together (docs/notifications.md): all of them are ours, or none.
PUSH_NAMES: Final = ("VAPID_PUBLIC_KEY", "VAPID_PRIVATE_KEY", "VAPID_SUBJECT")
# Whom a push service may write to: nobody, of a stack on a desk.
_PUSH_SUBJECT: Final = "mailto:demo@example.com"

_MAKERS: dict[str, Callable[[], str]] = {
    "ENCRYPTION_KEY": lambda: secrets.token_hex(32),
    "NEXTAUTH_SECRET": lambda: secrets.token_urlsafe(32),
    DATABASE_PASSWORD: lambda: secrets.token_hex(24),
}


def read_secrets(path: Path) -> dict[str, str]:
    """Read `NAME=value` lines; empty when the file is not there."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def load_or_make_secrets(path: Path) -> dict[str, str]:
    """Return the folder's keys; make and keep those that are missing."""
    known = read_secrets(path)
    missing = {name: make() for name, make in _MAKERS.items() if name not in known}
    if not any(name in known for name in PUSH_NAMES):
        missing |= _make_push_keys()
    if missing:
        known |= missing
        text = "# Keys of this data folder: what is stored here cannot be read without them.\n"
        text += "".join(f"{name}={value}\n" for name, value in known.items())
        write_private(path, text)
    path.chmod(0o600)
    return known


def _make_push_keys() -> dict[str, str]:
    # Lazy: once per data folder, and the module brings the libraries of web push.
    from minitik_dagster.notifications.web_push import new_keys

    return dict(zip(PUSH_NAMES, (*new_keys(), _PUSH_SUBJECT), strict=True))


def without_mixed_push_keys(kept: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return what is kept, without web push's variables where the environment sets any of them."""
    if not any(environ.get(name) for name in PUSH_NAMES):
        return dict(kept)
    return {name: value for name, value in kept.items() if name not in PUSH_NAMES}


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, all at once: a reader sees the old or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

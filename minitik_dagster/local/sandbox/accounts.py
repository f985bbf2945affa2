"""Accounts of the emulated platforms and the tokens they gave out."""

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any, Final

from minitik_dagster.local.sandbox.clock import SandboxClock
from minitik_dagster.local.sandbox.limits import Limits
from minitik_dagster.local.sandbox.store import Row, Store

DEFAULT_SCOPES: Final[dict[str, tuple[str, ...]]] = {
    "tiktok": ("user.info.basic", "video.list", "video.publish", "video.upload"),
    "instagram": (
        "instagram_business_basic",
        "instagram_business_content_publish",
        "instagram_business_manage_insights",
    ),
    "youtube": (
        "https://www.googleapis.com/auth/youtube",
        "https://www.googleapis.com/auth/youtube.readonly",
        "https://www.googleapis.com/auth/youtube.upload",
        "https://www.googleapis.com/auth/yt-analytics.readonly",
    ),
}
_ACCESS_PREFIX: Final = {"tiktok": "act.", "instagram": "IGAA", "youtube": "ya29."}
_REFRESH_PREFIX: Final = {"tiktok": "rft.", "youtube": "1//"}


def digits(count: int) -> str:
    """Return a random id of `count` digits that does not begin with 0."""
    return str(secrets.randbelow(9 * 10 ** (count - 1)) + 10 ** (count - 1))


def _new_account_id(platform: str) -> str:
    if platform == "tiktok":
        return "-000" + secrets.token_urlsafe(24)
    return "1784" + digits(13) if platform == "instagram" else "UC" + secrets.token_urlsafe(16)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True)
class Token:
    """A token as the platform remembers it: who, what for, until when."""

    account: str
    kind: str
    scopes: frozenset[str]
    issued_at: int
    expires_at: int | None
    revoked: bool
    extra: dict[str, Any]

    def live(self, now_ms: int) -> bool:
        """Tell whether the token still works."""
        return not self.revoked and (self.expires_at is None or now_ms < self.expires_at)


class Accounts:
    """Creates accounts; issues, finds and takes back tokens (only their digests are kept)."""

    def __init__(self, store: Store, clock: SandboxClock, limits: Limits) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits

    def find(self, platform: str, account: str) -> Row | None:
        """Return an account's row, or None."""
        return self._store.one(
            "SELECT * FROM accounts WHERE platform = ? AND id = ?", platform, account
        )

    def listed(self) -> list[Row]:
        """Return all accounts, oldest first."""
        return self._store.all("SELECT * FROM accounts ORDER BY created_at, rowid")

    def ensure(
        self,
        platform: str,
        account: str | None = None,
        username: str | None = None,
        private: bool | None = None,
        scopes: tuple[str, ...] | None = None,
    ) -> str:
        """Create an account, or change what is given of an existing one; returns its id."""
        identity = account or _new_account_id(platform)
        row = self.find(platform, identity)
        chosen = scopes or (tuple(json.loads(row["scopes"])) if row else DEFAULT_SCOPES[platform])
        self._store.run(
            "INSERT INTO accounts (platform, id, username, app_scoped_id, private, created_at, "
            "scopes) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (platform, id) DO UPDATE SET "
            "username = excluded.username, private = excluded.private, scopes = excluded.scopes",
            platform,
            identity,
            username or (row["username"] if row else f"{platform}_creator_{digits(5)}"),
            row["app_scoped_id"] if row else digits(17),
            int(private if private is not None else bool(row and row["private"])),
            row["created_at"] if row else self._clock.now_ms(),
            json.dumps(chosen),
        )
        return identity

    def issue(
        self,
        platform: str,
        account: str,
        kind: str,
        scopes: frozenset[str] | tuple[str, ...],
        lifetime_seconds: int | None,
        extra: dict[str, Any] | None = None,
    ) -> str:
        """Give out a new token of `kind` (access, refresh, short, code); returns its text."""
        prefixes = _REFRESH_PREFIX if kind == "refresh" else _ACCESS_PREFIX
        prefix = "" if kind == "code" else prefixes[platform]
        token = prefix + secrets.token_urlsafe(40)
        now = self._clock.now_ms()
        self._store.run(
            "INSERT INTO tokens (digest, platform, account, kind, scopes, issued_at, expires_at, "
            "extra) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            _digest(token),
            platform,
            account,
            kind,
            json.dumps(sorted(scopes)),
            now,
            None if lifetime_seconds is None else now + lifetime_seconds * 1000,
            json.dumps(extra or {}),
        )
        return token

    def token(self, platform: str, text: str | None) -> Token | None:
        """Return what is known of a token, live or not; None if it was never given out."""
        if not text:
            return None
        row = self._store.one(
            "SELECT * FROM tokens WHERE digest = ? AND platform = ?", _digest(text), platform
        )
        if row is None:
            return None
        return Token(
            account=row["account"],
            kind=row["kind"],
            scopes=frozenset(json.loads(row["scopes"])),
            issued_at=row["issued_at"],
            expires_at=row["expires_at"],
            revoked=row["revoked_at"] is not None,
            extra=json.loads(row["extra"]),
        )

    def use_up(self, text: str) -> None:
        """Make one token worthless: a spent code, a rotated refresh token."""
        self._store.run(
            "UPDATE tokens SET revoked_at = ? WHERE digest = ?", self._clock.now_ms(), _digest(text)
        )

    def revoke(self, platform: str, account: str) -> None:
        """Withdraw the grant: every token of the account stops working at once."""
        self._store.run(
            "UPDATE tokens SET revoked_at = ? WHERE platform = ? AND account = ? "
            "AND revoked_at IS NULL",
            self._clock.now_ms(),
            platform,
            account,
        )

    def client_fits(self, platform: str, client_id: str | None, secret: str | None) -> bool:
        """Tell whether these app credentials may be used (any, unless the limits name some)."""
        for name, given in (("clientId", client_id), ("clientSecret", secret)):
            wanted = self._limits.get(platform, name)
            if not given or (wanted is not None and given != wanted):
                return False
        return True

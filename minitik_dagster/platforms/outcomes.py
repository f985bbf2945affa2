"""What an answer means for us, in two columns: class and health (engine.md, Class and health).

Each platform module maps its documented codes to `Rule`s in one table; `Rule.error` makes the error.
On a step that can publish, only a documented *refusal* keeps its class: everything else is unknown.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from minitik_dagster.errors import (
    AuthExpiredError,
    HandleDeadError,
    PlatformError,
    RejectedError,
    RevokedError,
    ThrottledError,
    TransientError,
    UnknownOutcomeError,
)


class Class(StrEnum):
    """The class column of an outcome table."""

    TRANSIENT = "transient"
    THROTTLED = "throttled"
    AUTH_EXPIRED = "auth_expired"
    REVOKED = "revoked"
    EXPIRED = "expired"
    REJECTED = "rejected"
    HANDLE_DEAD = "handle_dead"


_ERRORS: dict[Class, type[PlatformError]] = {
    Class.TRANSIENT: TransientError,
    Class.THROTTLED: ThrottledError,
    Class.AUTH_EXPIRED: AuthExpiredError,
    Class.REVOKED: RevokedError,
    Class.EXPIRED: RevokedError,
    Class.REJECTED: RejectedError,
    Class.HANDLE_DEAD: HandleDeadError,
}

_KEY_LIKE = re.compile(r"[A-Za-z0-9._|~+/=-]{25,}")


@dataclass(frozen=True)
class Rule:
    """One documented code: its class, its health, the reason in plain words and the fix.

    `refusal` says that the platform documents the code as "nothing was done"; without it a step that
    can publish ends unknown. `wait` is how long to hold back where the answer names no time.
    `permission`: the code names a missing permission, not the end of the access.
    """

    verdict: Class
    reason: str
    fix: str = ""
    unhealthy: bool = False
    refusal: bool = True
    wait: timedelta | None = None
    permission: bool = False

    def error(
        self,
        code: str,
        *,
        can_publish: bool,
        request_id: str | None = None,
        words: str = "",
        retry_after: timedelta | None = None,
        until: datetime | None = None,
    ) -> PlatformError:
        """Return the error this answer is; `words` are the platform's own, without secrets."""
        reason = f"{self.reason}: {words}" if words else self.reason
        cls = _ERRORS[self.verdict]
        if can_publish and not self.refusal:
            cls = UnknownOutcomeError
        error = cls(
            reason, code=code, request_id=request_id, fix=self.fix, unhealthy=self.unhealthy
        )
        if isinstance(error, ThrottledError):
            error.retry_after = retry_after or (self.wait if until is None else None)
            error.until = until
        elif isinstance(error, TransientError):
            error.retry_after = retry_after or self.wait
        elif isinstance(error, RevokedError):
            error.expired = self.verdict is Class.EXPIRED
            error.permission = self.permission
        return error


def undocumented(status: int) -> Rule:
    """Return the rule for a code no page names: 5xx may pass, anything else is refused for good.

    It is never taken for a refusal on a step that can publish.
    """
    if status >= 500 or status == 408:
        return Rule(
            Class.TRANSIENT, "the platform had a fault of its own", unhealthy=True, refusal=False
        )
    if status == 401:
        return Rule(Class.AUTH_EXPIRED, "the access token is not accepted")
    if status == 429:
        return Rule(Class.THROTTLED, "too many calls", wait=timedelta(seconds=60))
    if status < 400:
        return Rule(Class.TRANSIENT, "the platform's answer was not understood", refusal=False)
    return Rule(
        Class.REJECTED,
        "the platform refused the call with a code it does not document",
        "look the code up in the platform's developer pages",
        refusal=False,
    )


def spoken(words: object) -> str:
    """Return a platform's message fit for a reason: one line, at most 200 characters.

    URLs and anything that looks like a key are left out: some answers repeat the token they refuse.
    """
    text = " ".join(str(words or "").split())
    text = " ".join("(URL)" if "://" in word else word for word in text.split(" "))
    return _KEY_LIKE.sub("(…)", text)[:200]

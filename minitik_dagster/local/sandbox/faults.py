"""Faults: how the sandbox is told to misbehave as real platforms do, and how often."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from minitik_dagster.local.sandbox.store import Store

PLATFORMS: Final = ("tiktok", "instagram", "youtube")
OPERATIONS: Final[dict[str, tuple[str, ...]]] = {
    "tiktok": (
        "token", "creator_info", "init", "chunk", "last_chunk", "status", "list",
        "revoke", "cancel", "profile", "consent",
    ),
    "instagram": (
        "token", "container", "container_status", "media_publish", "list", "delete",
        "media", "publishing_limit", "insights", "profile", "consent",
    ),
    "youtube": (
        "token", "session", "upload", "status", "list", "update", "delete",
        "revoke", "thumbnail", "channel", "uploads_list", "stats", "analytics", "consent",
    ),
}  # fmt: skip
"""What can be called, per platform: a fault for anything else would wait for ever."""
KINDS: Final = (
    # the contract's
    "status", "delay", "drop-before", "drop-after", "error-after", "late-effect", "stale-read",
    "throttle", "revoke", "slow-processing",
    # ours: what the call makes is accepted and fails in the platform's processing; the call has
    # arrived, and its body is neither read nor acted on for delayMs
    "fail-processing", "delay-before",
)  # fmt: skip
_NEEDS_DELAY: Final = frozenset(
    {"delay", "delay-before", "late-effect", "stale-read", "slow-processing"}
)
_FIELDS: Final = frozenset(
    {
        "platform",
        "operation",
        "kind",
        "count",
        "skip",
        "status",
        "code",
        "delayMs",
        "account",
        "retryAfterSeconds",
    }
)
DEFAULT_STATUS: Final = 503


class FaultError(ValueError):
    """A fault was described wrongly; the text names the field and what it takes."""


@dataclass
class Fault:
    """One standing order: misbehave so on the next `count` matching calls, after `skip` good ones.

    `status` is the HTTP status answered, `code` the platform's own code (`"9/2207042"` for
    Instagram's code and subcode, a TikTok code, a YouTube reason), `delayMs` what the kind says.
    `retryAfterSeconds` adds the header Retry-After to an injected error.
    """

    platform: str
    operation: str
    kind: str
    count: int = 1
    skip: int = 0
    status: int | None = None
    code: str | None = None
    delayMs: int = 0
    account: str | None = None
    retryAfterSeconds: int | None = None


def _choice(body: dict[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = body.get(name)
    if value not in allowed:
        raise FaultError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
    return str(value)


def _whole(body: dict[str, Any], name: str, default: int, least: int) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise FaultError(f"{name} must be a whole number of at least {least}; got {value!r}")
    return value


def parse_fault(body: dict[str, Any]) -> Fault:
    """Read a fault from JSON; raises FaultError naming the bad field."""
    if unknown := sorted(set(body) - _FIELDS):
        raise FaultError(f"unknown field {unknown[0]}; a fault has {', '.join(sorted(_FIELDS))}")
    kind = _choice(body, "kind", KINDS)
    code, account = body.get("code"), body.get("account")
    status = _whole(body, "status", DEFAULT_STATUS, 100) if "status" in body else None
    if status is not None and status > 599:
        raise FaultError(f"status must be an HTTP status; got {status}")
    if kind == "fail-processing" and not code:
        raise FaultError("code must name the platform's failure for fail-processing")
    platform = _choice(body, "platform", PLATFORMS)
    return Fault(
        platform=platform,
        operation=_choice(body, "operation", OPERATIONS[platform]),
        kind=kind,
        count=_whole(body, "count", 1, 1),
        skip=_whole(body, "skip", 0, 0),
        status=status,
        code=None if code is None else str(code),
        delayMs=_whole(body, "delayMs", 0, 1 if kind in _NEEDS_DELAY else 0)
        if kind not in _NEEDS_DELAY or "delayMs" in body
        else _missing_delay(kind),
        account=None if account is None else str(account),
        retryAfterSeconds=(
            _whole(body, "retryAfterSeconds", 0, 0) if "retryAfterSeconds" in body else None
        ),
    )


def _missing_delay(kind: str) -> int:
    raise FaultError(f"delayMs must be given for {kind}, in milliseconds")


class FaultBook:
    """The standing faults, in the order they were given; each call meets at most one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._faults = [Fault(**item) for item in store.read_setting("faults") or []]

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, fault: Fault) -> None:
        """Let `fault` stand until its count is used up."""
        self._faults.append(fault)
        self._save()

    def clear(self) -> None:
        """Forget all faults."""
        self._faults.clear()
        self._save()

    def show(self) -> list[dict[str, Any]]:
        """Return the faults still standing; `count` is what remains of each."""
        return [asdict(fault) for fault in self._faults]

    def take(self, platform: str, operation: str, account: str | None) -> Fault | None:
        """Return the fault this call meets, and count it; None for a good call."""
        for fault in self._faults:
            if (fault.platform, fault.operation) != (platform, operation):
                continue
            if fault.account is not None and fault.account != account:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                self._save()
                continue
            fault.count -= 1
            if fault.count == 0:
                self._faults.remove(fault)
            self._save()
            return fault
        return None

    def _save(self) -> None:
        self._store.write_setting("faults", self.show())

"""What may come of asking a platform about an account, and of a run over many."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import structlog

from minitik_dagster.db.types import Platform

_log = structlog.get_logger(__name__)
OK: Final = "ok"
WITHDRAWN: Final = "withdrawn"
PERMISSION: Final = "permission_missing"
OTHER: Final = "other_identity"
REFUSED: Final = "refused"
UNREADABLE: Final = "unreadable"
TRANSIENT: Final = "transient"
THROTTLED: Final = "throttled"
# Nothing was written: somebody else probes it or has done so; it is not connected (nobody was asked), or
# was disconnected, reconnected or refreshed while the platform was asked; the run was over.
ALREADY: Final = "already"
NOT_CONNECTED: Final = "not_connected"
CHANGED: Final = "changed"
LEFT: Final = "left"
_NOTHING_TO_DO: Final = frozenset({ALREADY, NOT_CONNECTED, CHANGED})
PROBLEMS: Final = frozenset({WITHDRAWN, PERMISSION, OTHER, REFUSED, UNREADABLE})


@dataclass(frozen=True)
class Probe:
    """What came of one account: an outcome of this module, and the platform's code where it has one."""

    account_id: str
    platform: Platform
    outcome: str
    code: str = ""

    @property
    def text(self) -> str:
        """`outcome` or `outcome: code`, as it stands in `probeOutcome`."""
        return f"{self.outcome}: {self.code}"[:100] if self.code else self.outcome

    @property
    def is_problem(self) -> bool:
        """Whether the platform said something that needs a person."""
        return self.outcome in PROBLEMS


@dataclass
class ProbeReport:
    """What one run did. `already`: asked by somebody else meanwhile; `left`: due for the next run."""

    due: int = 0
    ok: int = 0
    problems: int = 0
    failed: int = 0
    already: int = 0
    left: int = 0
    most_in_flight: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, probe: Probe) -> None:
        """Count one account's outcome."""
        if probe.outcome in {OK, LEFT}:
            name = probe.outcome
        elif probe.outcome in _NOTHING_TO_DO:
            name = "already"
        else:
            name = "problems" if probe.is_problem else "failed"
        setattr(self, name, getattr(self, name) + 1)
        self.outcomes[f"{probe.platform.value.lower()}: {probe.text}"] += 1
        if name in {"problems", "failed"}:
            _log.warning("account.probe", account=probe.account_id, outcome=probe.text)

    def counts(self) -> dict[str, int]:
        """Return the numbers by name."""
        names = ("due", "ok", "problems", "failed", "already", "left")
        return {name: getattr(self, name) for name in names}

"""What one dispatcher did: counts, lateness and failures, for its summary."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from minitik_dagster.publishing.work import Claim

_FAILURES_KEPT = 50


@dataclass(frozen=True)
class Failure:
    """One line of the failure table; ids only, no people."""

    publication_id: str
    platform: str
    code: str
    reason: str


@dataclass
class Tally:
    """Gathers outcomes per platform and the lateness of each commit."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    lateness_ms: list[float] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    claimed: int = 0

    def counted(self, claim: Claim, outcome: str) -> None:
        """Count an outcome."""
        self.outcomes[claim.platform.value.lower(), outcome] += 1

    def sent(self, claim: Claim, late: timedelta) -> None:
        """Count an accepted commit and how late its first byte was."""
        self.counted(claim, "accepted")
        self.lateness_ms.append(late / timedelta(milliseconds=1))

    def failed(self, claim: Claim, code: str, reason: str) -> None:
        """Count a final failure and keep it for the table."""
        self.counted(claim, "failed")
        if len(self.failures) < _FAILURES_KEPT:
            self.failures.append(
                Failure(claim.publication_id, claim.platform.value.lower(), code, reason)
            )

    def summary(self) -> dict[str, Any]:
        """Return plain figures: outcomes per platform, lateness p50/p99/max in ms, failures."""
        per_platform: dict[str, dict[str, int]] = {}
        for (platform, outcome), count in sorted(self.outcomes.items()):
            per_platform.setdefault(platform, {})[outcome] = count
        return {
            "claimed": self.claimed,
            "outcomes": per_platform,
            "lateness_ms": {
                "count": len(self.lateness_ms),
                "p50": percentile(self.lateness_ms, 50),
                "p99": percentile(self.lateness_ms, 99),
                "max": max(self.lateness_ms, default=None),
            },
            "failures": [vars(failure) for failure in self.failures],
        }

    def failures_table(self) -> str:
        """Return the failures as a Markdown table."""
        return failures_table(self.failures)

    def begin_anew(self) -> None:
        """Forget what was counted: another window begins."""
        self.outcomes.clear()
        self.lateness_ms.clear()
        self.failures.clear()
        self.claimed = 0


def failures_table(failures: Sequence[Failure]) -> str:
    """Return failures as a Markdown table."""
    if not failures:
        return "No failures."
    lines = ["| publication | platform | code | reason |", "|---|---|---|---|"]
    for item in failures:
        reason = item.reason.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {item.publication_id} | {item.platform} | {item.code} | {reason} |")
    return "\n".join(lines)


def percentile(values: list[float], percent: float) -> float | None:
    """Return the nearest-rank percentile; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]

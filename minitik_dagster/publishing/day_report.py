"""What reconciling found: counts and differences, ids only."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_SHOWN = 200


@dataclass(frozen=True)
class Difference:
    """A publication whose row was repaired, and the platform's word for it."""

    publication_id: str
    platform: str
    before: str
    after: str
    code: str


@dataclass
class DayReport:
    """`asked` platforms about so many publications; `open` are still not settled, by stage.

    `busy` had a living lease (a dispatcher is at it); `unanswered` could not be asked.
    """

    asked: int = 0
    busy: int = 0
    unanswered: int = 0
    open: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    def metadata(self) -> Mapping[str, Any]:
        """Return plain figures and a Markdown table."""
        return {
            "asked": self.asked,
            "repaired": len(self.differences),
            "busy": self.busy,
            "unanswered": self.unanswered,
            "open": dict(self.open),
            "differences": self.table(),
        }

    def table(self) -> str:
        """Return the differences as a Markdown table."""
        if not self.differences:
            return "No differences."
        lines = ["| publication | platform | was | is | platform's code |", "|---|---|---|---|---|"]
        lines += [
            f"| {item.publication_id} | {item.platform} | {item.before} | {item.after} | "
            f"{item.code.replace('|', '/') or '-'} |"
            for item in self.differences[:_SHOWN]
        ]
        if len(self.differences) > _SHOWN:
            lines.append(f"\n{len(self.differences) - _SHOWN} more.")
        return "\n".join(lines)

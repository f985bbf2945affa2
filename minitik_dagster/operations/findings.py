"""What a look at the system found: a level, in plain words, with the fix."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from minitik_dagster.errors import MinitikError

_log = structlog.get_logger(__name__)


class Level(StrEnum):
    """GREEN works, YELLOW works without something or soon not, RED does not work."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


_ORDER: Final = (Level.GREEN, Level.YELLOW, Level.RED)


@dataclass(frozen=True)
class Finding:
    """One check's answer. `detail` and `fix` hold no secret and no value of a variable."""

    check: str
    level: Level
    detail: str
    fix: str = ""


def worst(findings: Sequence[Finding]) -> Level:
    """Return the worst level; GREEN of nothing."""
    return max((item.level for item in findings), key=_ORDER.index, default=Level.GREEN)


def green(check: str, detail: str) -> Finding:
    """A check that found nothing wrong."""
    return Finding(check, Level.GREEN, detail)


def yellow(check: str, detail: str, fix: str) -> Finding:
    """A check that found what will hurt, or hurts a part."""
    return Finding(check, Level.YELLOW, detail, fix)


def red(check: str, detail: str, fix: str) -> Finding:
    """A check that found what does not work."""
    return Finding(check, Level.RED, detail, fix)


def guarded(check: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Look; a look that fails is a red finding and ends no other.

    Only the kind of an unforeseen error is told: its text may hold a URL and so a password.
    """
    found: list[Finding] = []
    try:
        found.extend(look())
    except MinitikError as error:
        found.append(red(check, str(error), ""))
    except Exception as error:
        # Whatever it is, the other checks must be made: this is what a doctor is for.
        _log.warning("doctor.blind", check=check, error=type(error).__name__)
        found.append(red(check, f"could not be checked ({type(error).__name__})", ""))
    return found


def as_lines(findings: Sequence[Finding], *, everything: bool = False) -> list[str]:
    """Return the findings for reading, the worst first; green ones only with `everything`."""
    told = [item for item in findings if everything or item.level is not Level.GREEN]
    lines = []
    for item in sorted(told, key=lambda item: -_ORDER.index(item.level)):
        lines.append(f"{item.level.value:7} {item.check}: {item.detail}")
        if item.fix:
            lines.append(f"        fix: {item.fix}")
    count = {level: sum(item.level is level for item in findings) for level in Level}
    lines.append(", ".join(f"{number} {level.value}" for level, number in count.items()))
    return lines

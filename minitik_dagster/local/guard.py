"""The last one out: ends registered process groups once its parent is gone, however it died.

Run as a program of its own (`python -I -S guard.py`, standard library only) in a session of its
own, reading lines from standard input. The parent never closes that pipe while it lives, so its
end means the parent has ended, by `kill -9` too. A parent-death signal would not do: it is tied to
the *thread* that started the child, and is cleared when the child changes its user.

Lines: `+PGID SIGNAL` registers a group and the signal that asks it to stop; `-PGID` forgets it;
`RMTREE PATH` names a temporary folder to remove at the end.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

GRACE_SECONDS = 8.0
_POLL_SECONDS = 0.05


def group_lives(pgid: int) -> bool:
    """Whether any process of the group still runs; zombies have ended."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _only_zombies(pgid)


def _only_zombies(pgid: int) -> bool:
    """A group of zombies counts as ended: whoever adopted them reaps them when it likes."""
    proc = Path("/proc")
    if not proc.is_dir():
        return False
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name in parentheses may hold spaces: the fields of interest follow the last one.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pgid and fields[0] not in {"Z", "X"}:
            return False
    return True


def _signal(pgid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, number)


def end_groups(groups: dict[int, int], grace_seconds: float = GRACE_SECONDS) -> None:
    """Ask every group to stop with its own signal, kill what is left after the grace, see it gone."""
    for pgid, number in groups.items():
        _signal(pgid, number)
    left = _left_after(set(groups), grace_seconds)
    for pgid in left:
        _signal(pgid, signal.SIGKILL)
    # The kernel ends them in its own time: who returns from here may count on there being none.
    _left_after(left, GRACE_SECONDS)


def _left_after(groups: set[int], seconds: float) -> set[int]:
    """Wait until all groups have ended, `seconds` at most; return those that have not."""
    deadline = time.monotonic() + seconds
    left = groups
    while left and time.monotonic() < deadline:
        left = {pgid for pgid in left if group_lives(pgid)}
        if left:
            time.sleep(_POLL_SECONDS)
    return left


def main() -> None:
    """Read registrations until the pipe ends, then end every group still registered."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: dict[int, int] = {}
    folders: list[str] = []
    for raw in sys.stdin:
        line = raw.rstrip("\n")
        if line.startswith("+"):
            pgid, stop_signal = line[1:].split()
            groups[int(pgid)] = int(stop_signal)
        elif line.startswith("-"):
            groups.pop(int(line[1:]), None)
        elif line.startswith("RMTREE "):
            folders.append(line.removeprefix("RMTREE "))
    end_groups(groups)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

"""Which tests of a parallel run stay together: those that share one stack, by their `xdist_group`.

pytest-xdist tells groups by what it adds to a test's id, which pytest 9.2 does not let it do any more.
"""

import re
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parent
_GROUP = re.compile(r'xdist_group\("([^"]+)"\)')


def groups() -> dict[str, str]:
    """Return the group of each file that names one, by the file's path in a test's id."""
    found = {}
    for file in ROOT.rglob("test_*.py"):
        named = _GROUP.search(file.read_text())
        if named:
            found[file.relative_to(ROOT.parent).as_posix()] = named[1]
    return found


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Sends the tests of one group to one worker, and every other test wherever there is room."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        self._groups = groups()

    def _split_scope(self, nodeid: str) -> str:
        return self._groups.get(nodeid.partition("::")[0], nodeid)

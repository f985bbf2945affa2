"""Runs a command in this process as the console script does."""

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from minitik_dagster.cli.main import main


@dataclass(frozen=True)
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


class Command:
    """Calls `minitik` with arguments; the environment is the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Said:
        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "argv", ["minitik", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        # An API that the test serves in this process writes there too.
        lines = said.err.splitlines(keepends=True)
        own = "".join(line for line in lines if '"request_id": ' not in line)
        return Said(ended.value.code, said.out, own)

    def good(self, *arguments: str) -> Said:
        """Call and expect exit 0 and a silent standard error."""
        said = self(*arguments)
        assert (said.code, said.err) == (0, ""), said
        return said

    def refused(self, *arguments: str, code: int = 1) -> str:
        """Call and expect this exit code, nothing on standard output and one line of error."""
        said = self(*arguments)
        assert (said.code, said.out) == (code, "")
        assert said.err.count("\n") == 1
        assert said.err.startswith("minitik: ")
        return said.err

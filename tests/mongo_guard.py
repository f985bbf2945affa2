"""Refuses, as a real MongoDB does, what may not be done to a time-series collection.

The embedded server takes all of it. Rules: MongoDB manual, "Time Series Collection Limitations": no
upserts, updates of nothing but the meta field, deletes by the meta field, no unique index.
"""

from collections.abc import Mapping
from typing import Any

from pymongo import monitoring

from minitik_dagster.analytics.names import READINGS

_REFUSED = {"update", "findAndModify", "findandmodify"}


class TimeSeriesGuard(monitoring.CommandListener):
    """Hears every command of every client that is made after it was registered."""

    def __init__(self) -> None:
        self.violations: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Note a command that a real server would have refused."""
        name, command = event.command_name, event.command
        if name in _REFUSED | {"delete", "createIndexes"} and command.get(name) == READINGS:
            why = _refusal(name, command)
            if why:
                self.violations.append(f"{name} on {READINGS!r}: {why}")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing more is to be known."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing more is to be known."""


def _refusal(name: str, command: Mapping[str, Any]) -> str | None:
    if name in _REFUSED:
        return "readings are only ever inserted"
    if name == "delete":
        for one in command.get("deletes", []):
            if not one["q"] or any(not str(key).startswith("metadata") for key in one["q"]):
                return "deletes go by the meta field alone"
        return None
    unique = any(index.get("unique") for index in command.get("indexes", []))
    return "a unique index is not possible" if unique else None


GUARD = TimeSeriesGuard()

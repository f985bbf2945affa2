"""How the demo shows its progress: a live table on a terminal, plain lines anywhere else."""

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.live import Live
from rich.table import Table

from minitik_dagster.local.demo_verdict import Row


class Display:
    """Progress on `stream`; `watching()` follows publications until they are done."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout
        # Wide enough for a row when the output is a file: nothing is cut or folded there.
        width = None if self._stream.isatty() else 120
        self._console = Console(file=self._stream, highlight=False, width=width)
        self._live: Live | None = None
        self._stages: dict[str, str] = {}

    def say(self, text: str) -> None:
        """Print one line at once."""
        self._console.print(text, markup=False, soft_wrap=True)
        self._stream.flush()

    def follow(self, publications: Sequence[Mapping[str, Any]], due: datetime) -> None:
        """Show the present stages: redraw on a terminal, one line per change elsewhere."""
        if not self._console.is_terminal:
            for item in publications:
                name, stage = str(item["platform"]).lower(), str(item["stage"])
                if self._stages.get(name) != stage:
                    self._stages[name] = stage
                    self.say(f"  {_countdown(due):>7}  {name}: {stage}")
            return
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        table = Table("platform", "stage", "to go", box=None, pad_edge=True)
        for item in publications:
            table.add_row(str(item["platform"]).lower(), str(item["stage"]), _countdown(due))
        self._live.update(table, refresh=True)

    def end_following(self) -> None:
        """Take the live table away; safe to call when there is none."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def result(self, rows: Sequence[Row], zone: str) -> None:
        """Print the final table with times in the zone of the schedule."""
        table = Table("platform", "post id", "due", "published", "late by (ms)")
        table.columns[4].justify = "right"
        clock = _clock_in(zone)
        for row in rows:
            table.add_row(
                row.platform,
                row.post_id or "not known yet",
                clock(row.due),
                clock(row.published) if row.published else "-",
                "-" if row.late_ms is None else f"{row.late_ms:.1f}",
            )
        self._console.print(table)
        self._stream.flush()


def _clock_in(zone: str) -> Callable[[datetime], str]:
    place = ZoneInfo(zone)
    return lambda instant: instant.astimezone(place).strftime("%H:%M:%S.%f")[:-3]


def _countdown(due: datetime) -> str:
    seconds = (due - datetime.now(UTC)).total_seconds()
    return f"{seconds:.0f} s" if seconds > 0 else "due"

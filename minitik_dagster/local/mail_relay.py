"""Shows what the API's process prints as mail on the local stack's own output."""

from collections.abc import Callable
from pathlib import Path

from minitik_dagster.notifications.mail import PRINTED


class MailRelay:
    """Reads a growing log file and says each whole line that is marked as mail."""

    def __init__(self, log: Path, say: Callable[[str], None]) -> None:
        self._log = log
        self._say = say
        self._read = 0

    def look(self) -> bool:
        """Say what has come since the last look; always False: there is no end to wait for."""
        try:
            with self._log.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except OSError:
            return False
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            if line.startswith(PRINTED):
                self._say("".join(mark for mark in line if mark.isprintable()))
        return False

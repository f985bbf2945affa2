"""PostgreSQL is away: told by this process itself, because no alert can be written and no outbox filled.

Each process that cannot reach it tells on its own. When it is back the episode is written to `alerts`, one
row for all processes, and that it is over is told from the outbox like any other alert's end.
"""

import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import Connection, text

from minitik_dagster.clock import boottime
from minitik_dagster.ids import new_id
from minitik_dagster.notifications.alert_post import Send, send_by_apprise, target_of
from minitik_dagster.operations.alerts import CRITICAL_AGAIN, WARNING_AGAIN
from minitik_dagster.operations.thresholds import THRESHOLDS, Threshold
from minitik_dagster.publishing.queries import NOW

KEY: Final = "postgresql.away"
_log = structlog.get_logger(__name__)
# Any constant will do, other than those of the alerts' looks.
_LOCK: Final = text("SELECT pg_advisory_xact_lock(7203114562)")
_OPENED: Final = f"{NOW} - CAST(:lasted AS interval)"
_TOLD_AT: Final = f"CASE WHEN CAST(:told AS text) IS NOT NULL THEN {NOW} END"
# What another process has written of the same time is the same episode.
_EXTEND: Final = text(
    f"""
    UPDATE alerts SET "openedAt" = LEAST("openedAt", {_OPENED}), "lastSeenAt" = {NOW},
        "resolvedAt" = {NOW}, "notifiedAt" = COALESCE("notifiedAt", {_TOLD_AT}),
        "notifiedLevel" = COALESCE("notifiedLevel", CAST(:told AS text))
    WHERE key = :key AND "resolvedAt" >= {_OPENED} RETURNING id
    """  # noqa: S608 - constants
)
_WRITE: Final = text(
    f"""
    INSERT INTO alerts (id, key, level, message, detail, "openedAt", "lastSeenAt", "resolvedAt",
        "notifiedAt", "notifiedLevel")
    VALUES (:row_id, :key, :level, :message, CAST(:detail AS jsonb), {_OPENED}, {NOW}, {NOW},
        {_TOLD_AT}, CAST(:told AS text))
    """  # noqa: S608 - constants
)


@dataclass
class DatabaseAway:
    """What one process knows of an outage; `targets` are the URLs of MINITIK_ALERT_URLS.

    `threshold` is the one in force when the database was last there.
    """

    targets: Sequence[str]
    send: Send = send_by_apprise
    clock: Callable[[], float] = boottime
    threshold: Threshold = THRESHOLDS[KEY]
    host: str = field(default_factory=socket.gethostname)
    _since: float | None = None
    _level: str | None = None
    _message: str = ""
    _told_at: float = 0.0
    _untold: list[str] = field(default_factory=list)
    _taken: bool = False

    def away(self, reason: str) -> None:
        """It does not answer: tell it once the threshold is passed, and again by its schedule.

        A target that does not take the message is tried again at the next call, alone.
        """
        now = self.clock()
        if self._since is None:
            self._since = now
        lasted = now - self._since
        level = self.threshold.level(lasted)
        if level is None:
            return
        again = CRITICAL_AGAIN if level == "critical" else WARNING_AGAIN
        if level != self._level or now - self._told_at >= again.total_seconds():
            _log.error("alert.raised", key=KEY, level=level, reading=round(lasted))
            self._level, self._told_at, self._untold = level, now, list(self.targets)
            self._message = (
                f"{lasted:.0f} {self.threshold.what} on {self.host} ({reason}); "
                f"{self.threshold.action}"
            )
        self._untold = [url for url in self._untold if not self._tell(url, level)]

    def write(self, connection: Connection) -> None:
        """It is back: write the episode, if it was one, in the caller's transaction."""
        if self._since is None or self._level is None:
            return
        lasted = self.clock() - self._since
        told = self._level if self._taken else None
        values = {
            "key": KEY,
            "row_id": new_id(),
            "level": self._level,
            "message": self._message,
            "detail": json.dumps({"reading": round(lasted), "threshold": self.threshold.critical}),
            "lasted": timedelta(seconds=lasted),
            "told": told,
        }
        connection.execute(_LOCK)
        if connection.execute(_EXTEND, values).first() is None:
            connection.execute(_WRITE, values)

    def forget(self) -> None:
        """What `write` wrote is committed."""
        if self._level is not None:
            _log.warning("alert.resolved", key=KEY)
        self._since = self._level = None
        self._untold, self._taken = [], False

    def _tell(self, url: str, level: str) -> bool:
        if not self.send(url, f"minitik {level}: {KEY}", self._message):
            _log.warning("alert.again", key=KEY, target=target_of(url))
            return False
        _log.info("alert.told", key=KEY, level=level)
        self._taken = True
        return True

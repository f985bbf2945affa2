"""Sends alerts to where MINITIK_ALERT_URLS say, by Apprise, from the outbox.

One row per alert and target, so that a target which is down is tried again alone. A row names its
target by a digest: the URL holds credentials and stays in the environment.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from random import Random
from typing import Any, Final

import structlog
from sqlalchemy import Engine, text

from minitik_dagster.db.instance import is_ours
from minitik_dagster.resilience.backoff import backoff_delay
from minitik_dagster.settings import Settings

_log = structlog.get_logger(__name__)
NOTICE: Final = "alert.notice"
_AT_ONCE: Final = 5
_BUSY: Final = timedelta(minutes=2)
_GIVE_UP: Final = timedelta(days=1)
_NOW: Final = "(statement_timestamp() AT TIME ZONE 'UTC')"
_CLAIM: Final = text(
    f"""
    WITH due AS (
        SELECT id FROM outbox WHERE "doneAt" IS NULL AND kind = :kind AND "dueAt" <= {_NOW}
        ORDER BY "dueAt" LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE outbox o SET attempts = o.attempts + 1, "dueAt" = {_NOW} + CAST(:busy AS interval)
    FROM due WHERE o.id = due.id
    RETURNING o.id, o.payload, o.attempts, {_NOW} - o."createdAt" AS age
    """  # noqa: S608 - a constant
)
_DONE: Final = text(f'UPDATE outbox SET "doneAt" = {_NOW}, error = :note WHERE id = :id')  # noqa: S608
_AGAIN: Final = text(
    f'UPDATE outbox SET error = :note, "dueAt" = {_NOW} + CAST(:wait AS interval) WHERE id = :id'  # noqa: S608
)
Send = Callable[[str, str, str], bool]


def target_of(url: str) -> str:
    """Return the digest that names a target in the outbox."""
    return sha256(url.encode()).hexdigest()[:16]


def is_understood(url: str) -> bool:
    """Whether a notification service is known by such an URL; nothing is sent."""
    import logging

    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it would repeat the URL
    return apprise.Apprise.instantiate(url) is not None


def send_by_apprise(url: str, subject: str, body: str) -> bool:
    """Send one message; False when the service did not take it."""
    import logging

    import apprise  # a second of import time that only a process which sends needs

    # Its own lines may repeat the URL.
    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    service = apprise.Apprise.instantiate(url)
    return service is not None and bool(
        service.notify(title=subject, body=body, body_format=apprise.NotifyFormat.TEXT)
    )


@dataclass(frozen=True)
class AlertPost:
    """One process's share in sending alerts."""

    engine: Engine
    settings: Settings
    send: Send = send_by_apprise
    random: Random = field(default_factory=Random)

    def work(self) -> int:
        """Send a handful of what is due; return how many were claimed: none of another deployment's."""
        urls = {target_of(url): url for url in self.settings.alert_urls()}
        with self.engine.begin() as connection:
            if not is_ours(connection, self.settings):
                return 0
            values = {"kind": NOTICE, "limit": _AT_ONCE, "busy": _BUSY}
            claimed = [dict(row) for row in connection.execute(_CLAIM, values).mappings()]
        for row in claimed:
            self._deliver(row, urls.get(row["payload"]["target"]))
        return len(claimed)

    def _deliver(self, row: Mapping[str, Any], url: str | None) -> None:
        facts = row["payload"]
        if url is None:
            self._note(_DONE, row, note="its target is not configured any more")
        elif row["age"] > _GIVE_UP:
            _log.error("alert.given_up", key=facts["key"])
            self._note(_DONE, row, note="given up: it was not taken within a day")
        elif self.send(url, f"minitik {facts['level']}: {facts['key']}", facts["message"]):
            _log.info("alert.told", key=facts["key"], level=facts["level"])
            self._note(_DONE, row, note=None)
        else:
            wait = backoff_delay(row["attempts"], self.random)
            self._note(_AGAIN, row, note="the service did not take it", wait=wait)

    def _note(self, statement: Any, row: Mapping[str, Any], **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(statement, {"id": row["id"], **values})

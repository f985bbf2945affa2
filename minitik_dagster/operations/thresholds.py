"""The thresholds of alerts: the old runbook's table as data, and ours beside it.

A level is reached when the reading is *greater* than its number. An operator's own numbers stand in
`settings` under `threshold:<key>` and win.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection, text

from minitik_dagster.errors import FieldProblem, InvalidInputError, NotFoundError
from minitik_dagster.ids import new_id
from minitik_dagster.operations.losses import LOSSES
from minitik_dagster.publishing.pause_queries import AUDIT
from minitik_dagster.publishing.queries import NOW

Level = str


@dataclass(frozen=True)
class Threshold:
    """When a reading is a warning and when it is critical, and what the operator does then.

    `what` completes the sentence "<reading> …"; `runbook` marks the rows of the old table.
    """

    key: str
    what: str
    warning: float
    critical: float
    action: str
    runbook: bool = False
    changed: bool = False

    def level(self, reading: float) -> Level | None:
        """Return `warning`, `critical`, or None where the reading is fine."""
        if reading > self.critical:
            return "critical"
        return "warning" if reading > self.warning else None


_TABLE: Final = (
    Threshold(
        "publish.failed",
        "posts failed for good within 10 minutes",
        5,
        20,
        "check the platforms' status; minitik dead-letters list",
        runbook=True,
    ),
    Threshold(
        "publish.waiting",
        "posts are overdue and nobody has taken them",
        50,
        200,
        "is a dispatcher alive? minitik doctor; Redis does not matter for it",
        runbook=True,
    ),
    Threshold(
        "token-refresh.failed",
        "accounts' token renewals failed within an hour",
        3,
        10,
        "a platform limits us or our credentials ended: minitik doctor; minitik accounts list",
        runbook=True,
    ),
    Threshold(
        "breaker.open",
        "platforms' circuit breakers are open",
        0,
        1,
        "a platform is down: its posts wait; it closes by itself 5 minutes after it is back",
        runbook=True,
    ),
    Threshold(
        "dead-letters.open",
        "dead letters are open",
        10,
        50,
        "find the cause, then minitik dead-letters replay or discard",
        runbook=True,
    ),
    Threshold(
        "postgresql.away",
        "seconds ago PostgreSQL stopped taking connections of the API process",
        60,
        60,
        f"{LOSSES['postgresql']}; start it, or look at the network between; nothing else is to be done",
    ),
    # Breakers and limits that count per process may overrun a platform's limits, in time.
    Threshold(
        "redis.away",
        "seconds ago Redis answered last",
        60,
        1_800,
        f"{LOSSES['redis']}; start it, or correct REDIS_URL: minitik doctor",
    ),
    # Nobody's post is at stake: readings whose next one fell due meanwhile are lost.
    Threshold(
        "mongodb.away",
        "seconds ago MongoDB answered last",
        300,
        14_400,
        f"{LOSSES['mongodb']}; start it, or correct MONGODB_URI: minitik doctor",
    ),
    # Posts that are not prepared yet are late by it.
    Threshold(
        "s3.away",
        "seconds ago the bucket answered last",
        60,
        300,
        f"{LOSSES['s3']}; start it, or correct AWS_S3_BUCKET and its keys: minitik doctor",
    ),
    Threshold(
        "publish.unknown",
        "commits have had an unknown outcome for more than an hour",
        0,
        5,
        "minitik publications reconcile; minitik reviews list",
    ),
    Threshold(
        "publish.late",
        "seconds late were 99 of 100 posts of the last hour, at most",
        30,
        300,
        "minitik incident: lateness per platform and step",
    ),
    Threshold(
        "forecast.failing",
        "posts of the next 24 hours will not make it, by the last forecast",
        0,
        20,
        "minitik forecast tells which and why",
    ),
    Threshold(
        "dispatchers.died",
        "dispatchers ended without a word within an hour",
        1,
        5,
        "look at their logs and at the machine's memory",
    ),
    Threshold(
        "outbox.age",
        "seconds old is the oldest message that has not left",
        900,
        14_400,
        'SELECT kind, error FROM outbox WHERE "doneAt" IS NULL; is the API running?',
    ),
    Threshold(
        "old-queue.running",
        "old queue that was taken over is running again: its workers may post",
        0,
        0,
        "stop the old system's workers; minitik adopt --yes pauses the queue again",
    ),
    Threshold(
        "restore.review",
        "posts fell due in a time that the restored database has forgotten, and wait for a person",
        0,
        0,
        "minitik restore status; look at their accounts; minitik reviews resolve",
    ),
    Threshold(
        "epoch.unmirrored",
        "seconds ago the bucket last took the database's epoch",
        600,
        3_600,
        "does the bucket take what is put? Until then a restore would not be noticed: minitik doctor",
    ),
    Threshold(
        "dagster.silent",
        "seconds ago Dagster's sensor looked last",
        600,
        3_600,
        "start Dagster's daemon; until then a resident dispatcher publishes",
    ),
    Threshold(
        "runs.failed",
        "Dagster runs failed within an hour",
        0,
        5,
        "open the run in Dagster, or its lines in the log: grep its id",
    ),
    Threshold(
        "assets.failed",
        "assets were not made by the last run that was to make them",
        0,
        3,
        "open the run in Dagster; materialize the asset again, which is safe for each of them",
    ),
    Threshold(
        "assets.stale",
        "assets are older than they may be",
        0,
        3,
        "is Dagster's daemon alive, and the asset's schedule on? minitik doctor",
    ),
)
THRESHOLDS: Final[Mapping[str, Threshold]] = MappingProxyType({item.key: item for item in _TABLE})

_OVERRIDES: Final = text(
    "SELECT substr(key, 11) AS key, value FROM settings WHERE key LIKE 'threshold:%'"
)
_SET: Final = text(
    f"""
    INSERT INTO settings (key, value, "updatedAt")
    VALUES ('threshold:' || :key, CAST(:value AS jsonb), {NOW})
    ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, "updatedAt" = EXCLUDED."updatedAt"
    """  # noqa: S608 - a constant
)
_UNSET: Final = text("DELETE FROM settings WHERE key = 'threshold:' || :key")


def thresholds(connection: Connection) -> Mapping[str, Threshold]:
    """Return the thresholds in force."""
    given = {row.key: row.value for row in connection.execute(_OVERRIDES)}
    return {
        key: item
        if key not in given
        else replace(
            item,
            warning=float(given[key]["warning"]),
            critical=float(given[key]["critical"]),
            changed=True,
        )
        for key, item in THRESHOLDS.items()
    }


def set_threshold(
    connection: Connection, key: str, *, warning: float, critical: float, actor: str
) -> Threshold:
    """Set an operator's own numbers; NotFoundError, or InvalidInputError where they make no sense."""
    item = _named(key)
    if not 0 <= warning <= critical < float("inf"):
        problem = f"warning {warning:g} and critical {critical:g} are not 0 ≤ warning ≤ critical"
        fix = "choose a smaller warning, and finite numbers"
        raise InvalidInputError(FieldProblem("warning", problem, fix))
    value = {"warning": warning, "critical": critical}
    connection.execute(_SET, {"key": key, "value": json.dumps(value)})
    _audit(connection, key, actor, value)
    return replace(item, warning=warning, critical=critical, changed=True)


def reset_threshold(connection: Connection, key: str, *, actor: str) -> Threshold:
    """Go back to the table's numbers; NotFoundError for a key that is not there."""
    item = _named(key)
    connection.execute(_UNSET, {"key": key})
    _audit(connection, key, actor, {})
    return item


def _named(key: str) -> Threshold:
    if key not in THRESHOLDS:
        raise NotFoundError(f"no threshold {key[:64]!r}; there are: {', '.join(THRESHOLDS)}")
    return THRESHOLDS[key]


def _audit(connection: Connection, key: str, actor: str, detail: Mapping[str, float]) -> None:
    connection.execute(
        text(AUDIT),
        {
            "row_id": new_id(),
            "actor": actor,
            "action": "alert.threshold",
            "subject": key,
            "detail": json.dumps(detail),
        },
    )

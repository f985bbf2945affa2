"""Alerts by thresholds: read, raised, resolved, and queued for those who must know.

Whoever has a connection may look: a Dagster sensor does, and the API process does without Dagster. A
change of level is told once; what stays open is told again each hour (critical) or day (warning).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

import structlog
from sqlalchemy import Connection, text

from minitik_dagster.errors import DependencyDownError
from minitik_dagster.ids import new_id
from minitik_dagster.notifications.alert_post import NOTICE, target_of
from minitik_dagster.notifications.notices import QUEUE_NOTICE, notice
from minitik_dagster.operations import alert_queries as queries
from minitik_dagster.operations import freshness, servers
from minitik_dagster.operations.doctor_pasts import old_queue_runs_again
from minitik_dagster.operations.thresholds import Threshold, thresholds
from minitik_dagster.publishing import alarm_queries
from minitik_dagster.resilience.breaker import read_states
from minitik_dagster.settings import Settings

_log = structlog.get_logger(__name__)
CRITICAL_AGAIN: Final = timedelta(hours=1)
WARNING_AGAIN: Final = timedelta(days=1)
_MOST_NAMES: Final = 10
# Any constant will do; not the one of publishing.alarm, which looks beside this.
_LOCK_KEY: Final = 7_203_114_561


class Change(StrEnum):
    """What a look did to one alert."""

    RAISED = "raised"
    CHANGED = "changed"
    RESOLVED = "resolved"


@dataclass(frozen=True)
class Looked:
    """What a look changed, by the alert's key, and how many notices it queued."""

    changes: Mapping[str, Change]
    told: int


def read(
    connection: Connection, settings: Settings, asked: Sequence[servers.Answer] = ()
) -> dict[str, float | None]:
    """Return the reading of each threshold; None where it cannot be told now.

    A Redis that has just not answered (`asked`) is not asked again: the transaction would wait for it.
    """
    row = connection.execute(text(queries.READINGS)).mappings().one()
    found = {key: float(value) if value is not None else None for key, value in row.items()}
    found["outbox.age"] = found["outbox.age"] or 0.0
    found["publish.late"] = found["publish.late"] or 0.0
    found |= {key: float(len(names)) for key, names in freshness.read(connection).items()}
    away = servers.seconds_away(connection)
    found |= {f"{server}.away": seconds for server, seconds in away.items()}
    found["breaker.open"] = found["old-queue.running"] = None
    if any(one.server == "redis" and not one.ok for one in asked):
        return found
    resumed = old_queue_runs_again(connection, settings)
    found["old-queue.running"] = None if resumed is None else float(resumed)
    if settings.redis_url is not None:
        try:
            states = read_states(settings.redis_url.get_secret_value())
        except DependencyDownError:
            return found
        found["breaker.open"] = float(sum(item.state != "CLOSED" for item in states))
    return found


def look(
    connection: Connection,
    settings: Settings,
    *,
    asked: Sequence[servers.Answer] = (),
    by_sensor: bool = False,
) -> Looked | None:
    """Look once in the caller's transaction; None while another process looks.

    `asked` is what the servers answered before the transaction began (operations.servers). `by_sensor`
    notes that Dagster's daemon is alive.
    """
    if by_sensor:
        connection.execute(text(queries.SENSOR_LOOKED))
    lead = connection.execute(text(alarm_queries.LEAD), {"key": _LOCK_KEY})
    if not lead.scalar_one():
        return None
    servers.note(connection, asked)
    readings, changes = read(connection, settings, asked), {}
    named = freshness.read(connection)
    for key, item in thresholds(connection).items():
        reading = readings.get(key)
        if reading is None:
            continue
        change = _judge(connection, item, reading, _words(named.get(key, ())))
        if change is not None:
            changes[key] = change
    return Looked(changes, tell(connection, settings))


def tell(connection: Connection, settings: Settings) -> int:
    """Queue a notice per open question and target; nothing without MINITIK_ALERT_URLS."""
    targets = [target_of(url) for url in settings.alert_urls()]
    if not targets:
        return 0
    values = {"critical_every": CRITICAL_AGAIN, "warning_every": WARNING_AGAIN}
    told = 0
    for row in connection.execute(text(queries.UNTOLD), values).mappings().all():
        resolved = connection.execute(text(queries.TOLD), {"id": row["id"]}).scalar_one()
        level = "resolved" if resolved else row["level"]
        for target in targets:
            facts = {
                "key": row["key"],
                "level": level,
                "before": row["told"],
                "message": row["message"],
                "target": target,
            }
            connection.execute(text(QUEUE_NOTICE), notice(NOTICE, **facts))
            told += 1
    return told


def _words(names: Sequence[str]) -> str:
    """What a reading is about: the names, each once, the first ten."""
    once = list(dict.fromkeys(names))
    more = f" and {len(once) - _MOST_NAMES} more" if len(once) > _MOST_NAMES else ""
    return f" ({', '.join(once[:_MOST_NAMES])}{more})" if once else ""


def _judge(connection: Connection, item: Threshold, reading: float, about: str) -> Change | None:
    key, level = {"key": item.key}, item.level(reading)
    if level is None:
        if connection.execute(text(alarm_queries.RESOLVE_ALERT), key).first() is None:
            return None
        _log.warning("alert.resolved", **key)
        return Change.RESOLVED
    before = connection.execute(text(alarm_queries.OPEN_ALERT), key).mappings().one_or_none()
    limit = item.critical if level == "critical" else item.warning
    connection.execute(
        text(alarm_queries.RAISE_ALERT),
        {
            **key,
            "row_id": new_id(),
            "level": level,
            "message": f"{reading:g} {item.what}{about} (more than {limit:g}); {item.action}",
            "detail": json.dumps({"reading": reading, "threshold": limit}),
        },
    )
    if before is not None and before["level"] == level:
        return None
    _log.error("alert.raised", **key, level=level, reading=reading)
    return Change.RAISED if before is None else Change.CHANGED
